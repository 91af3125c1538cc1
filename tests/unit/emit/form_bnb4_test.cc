// The weights that MatMulBnb4 means, by bitsandbytes' tables and the operator's description.
#include <array>

#include "emit_testing.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/emit/linear_form.h"
#include "ptq/emit/table_form.h"

namespace ptq {
namespace {

using testing::Describe;
using testing::FakeSink;
using ::testing::HasSubstr;
using testing::IntOf;

/// bitsandbytes/functional.py, get_4bit_type, and the comment on FP4 in its kernels.
constexpr std::array<float, 16> kFileNf4 = {
    -1.0f,
    -0.6961928009986877f,
    -0.5250730514526367f,
    -0.39491748809814453f,
    -0.28444138169288635f,
    -0.18477343022823334f,
    -0.09105003625154495f,
    0.0f,
    0.07958029955625534f,
    0.16093020141124725f,
    0.24611230194568634f,
    0.33791524171829224f,
    0.44070982933044434f,
    0.5626170039176941f,
    0.7229568362236023f,
    1.0f,
};
constexpr std::array<float, 16> kFileFp4 = {0.0f / 12,  0.0625f / 12,  8.0f / 12,  12.0f / 12,
                                            4.0f / 12,  6.0f / 12,     2.0f / 12,  3.0f / 12,
                                            -0.0f / 12, -0.0625f / 12, -8.0f / 12, -12.0f / 12,
                                            -4.0f / 12, -6.0f / 12,    -2.0f / 12, -3.0f / 12};

QuantizedMatrix RandomLevels(const LinearForm& form, int64_t n, int64_t k, int64_t group,
                             std::mt19937& random) {
  return testing::RandomMatrix(n, k, 4, group, true, random, form.codebook());
}

/// Element i of the flattened weight, from what is stored.
float StoredWeight(const onnx::NodeProto& node, FakeSink& sink, int64_t i) {
  const auto& codes = sink.tensors.at(node.input(1));
  const auto& scales = sink.tensors.at(node.input(2));
  const int byte = std::to_integer<int>(codes.bytes()[size_t(i / 2)]);
  const int code = i % 2 == 0 ? byte >> 4 : byte & 15;  // the first in the high half
  const float value =
      IntOf(node, "quant_type") == 1 ? kFileNf4[size_t(code)] : kFileFp4[size_t(code)];
  return value * scales.data<float>()[size_t(i / IntOf(node, "block_size"))];
}

class Bnb4 : public ::testing::TestWithParam<const char*> {
 protected:
  const LinearForm& form_ = FindLinearForm(GetParam());
};

TEST_P(Bnb4, MeansTheSameWeightsForAnyShape) {
  std::mt19937 random(1);
  for (const auto& [n, k, group] :
       {std::tuple{5, 64, 16}, {3, 256, 64}, {1, 32, 32}, {7, 48, 16}}) {
    const auto q = RandomLevels(form_, n, k, group, random);
    FakeSink sink;
    const auto nodes = form_.Emit(Describe(q), sink);
    ASSERT_EQ(nodes.size(), 1u);
    EXPECT_EQ(nodes[0].op_type(), "MatMulBnb4");
    EXPECT_EQ(nodes[0].domain(), "com.microsoft");
    EXPECT_EQ(IntOf(nodes[0], "K"), k);
    EXPECT_EQ(IntOf(nodes[0], "N"), n);
    EXPECT_EQ(IntOf(nodes[0], "block_size"), group);
    EXPECT_EQ(sink.tensors.at(nodes[0].input(1)).shape(), Shape{(n * k + 1) / 2});
    EXPECT_EQ(sink.tensors.at(nodes[0].input(2)).shape(), Shape{n * k / group});
    for (int64_t i = 0; i < n * k; ++i) {
      ASSERT_FLOAT_EQ(StoredWeight(nodes[0], sink, i), testing::WeightOf(q, i / k, i % k)) << i;
    }
  }
}

TEST_P(Bnb4, AddsABiasBehindTheProduct) {
  std::mt19937 random(2);
  const auto q = RandomLevels(form_, 4, 32, 16, random);
  LinearToEmit linear = Describe(q);
  linear.bias = "b";
  FakeSink sink;
  const auto nodes = form_.Emit(linear, sink);
  ASSERT_EQ(nodes.size(), 2u);
  EXPECT_EQ(nodes[1].op_type(), "Add");
  EXPECT_EQ(nodes[1].input(0), nodes[0].output(0));
  EXPECT_EQ(nodes[1].input(1), "b");
  EXPECT_EQ(nodes[1].output(0), "y");
}

TEST_P(Bnb4, StoresScalesInTheTypeOfTheActivations) {
  std::mt19937 random(3);
  const auto q = RandomLevels(form_, 4, 32, 16, random);
  FakeSink half, brain;
  const auto nodes = form_.Emit(Describe(q, DType::kFloat16), half);
  EXPECT_EQ(half.tensors.at(nodes[0].input(2)).dtype(), DType::kFloat16);
  const auto casted = form_.Emit(Describe(q, DType::kBFloat16), brain);
  ASSERT_EQ(casted.size(), 3u);  // no runtime has the product in bfloat16
  EXPECT_EQ(brain.tensors.at(casted[1].input(2)).dtype(), DType::kFloat32);
}

TEST_P(Bnb4, RefusesWhatTheOperatorCannotHoldAndNamesAFormThatCan) {
  FormParameters parameters;
  parameters.spec.group_size = 64;
  parameters.spec.codebook = form_.codebook();
  TensorFacts facts;
  facts.n = 8;
  facts.k = 128;
  EXPECT_EQ(form_.Refusal(facts, parameters), "");
  facts.k = 96;  // the second block of a row would reach into the next row
  EXPECT_THAT(form_.Refusal(facts, parameters), HasSubstr("rows of 96 weights"));
  facts.k = 128;
  facts.kind = SubjectKind::kStack;
  EXPECT_NE(form_.Refusal(facts, parameters), "");
  facts.kind = SubjectKind::kLinear;
  parameters.spec.bits = 8;
  EXPECT_THAT(form_.Refusal(facts, parameters), HasSubstr("4 bits"));
  EXPECT_THAT(form_.Fallbacks(), ::testing::ElementsAre("matmulnbits", "qmoe"));
}

TEST_P(Bnb4, SaysWhatNoTensorCanHave) {
  const auto message = [&](int bits, int64_t group, bool symmetric) -> std::string {
    try {
      form_.CheckSpec({bits, group, symmetric, ScaleType::kFloat32});
    } catch (const UsageError& error) {
      return error.what();
    }
    return "";
  };
  for (const int64_t group : {16, 32, 64, 128, 256}) EXPECT_EQ(message(4, group, true), "");
  EXPECT_THAT(message(8, 64, true), HasSubstr("4 bits, not 8"));
  EXPECT_THAT(message(4, 64, false), HasSubstr("no zero points"));
  EXPECT_THAT(message(4, 0, true), HasSubstr("not whole rows"));
  EXPECT_THAT(message(4, 512, true), HasSubstr("512"));
}

INSTANTIATE_TEST_SUITE_P(Types, Bnb4, ::testing::Values("nf4", "fp4"),
                         [](const auto& type) { return std::string(type.param); });

}  // namespace
}  // namespace ptq
