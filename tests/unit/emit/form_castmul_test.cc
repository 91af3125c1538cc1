// What the form of filters writes, read back by the definitions of the operators.
#include <random>
#include <string>

#include "emit_testing.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/emit/filter_form.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;

const FilterForm& CastAndMul() { return *FilterForms().front(); }

struct Case {
  int64_t groups;  ///< as Constant::groups
  Shape shape;     ///< as stored
};

Constant FiltersOf(const Case& own, DType type = DType::kFloat32) {
  Constant filters;
  filters.name = "f";
  filters.groups = own.groups;
  filters.operand_type = type;
  filters.taps = NumElements(own.shape, 2, int64_t(own.shape.size()));
  filters.n = own.groups == 0 ? own.shape[0] : own.shape[1] * own.groups;
  filters.k = NumElements(own.shape) / filters.n;
  filters.decision.form = &CastAndMul();
  return filters;
}

std::vector<std::string> OperatorsOf(const std::vector<onnx::NodeProto>& nodes) {
  std::vector<std::string> types;
  for (const auto& node : nodes) types.push_back(node.op_type());
  return types;
}

/// The floats that Cast, Mul and Reshape make: scales broadcast over the shape of the codes.
std::vector<float> FloatsOf(const testing::FakeSink& sink,
                            const std::vector<onnx::NodeProto>& nodes) {
  const Tensor& codes = sink.tensors.at(nodes.at(0).input(0));
  const Tensor scales = sink.tensors.at(nodes.at(1).input(1)).Widened();
  EXPECT_EQ(codes.rank(), scales.rank());
  std::vector<float> floats;
  for (int64_t i = 0; i < NumElements(codes.shape()); ++i) {
    int64_t rest = i, at = 0, stride = 1;
    for (int64_t axis = codes.rank() - 1; axis >= 0; --axis) {
      const int64_t index = rest % codes.dim(axis);
      rest /= codes.dim(axis);
      if (scales.dim(axis) == 1) continue;
      EXPECT_EQ(scales.dim(axis), codes.dim(axis));
      at += index * stride;
      stride *= scales.dim(axis);
    }
    floats.push_back(float(codes.data<int8_t>()[size_t(i)]) * scales.data<float>()[size_t(at)]);
  }
  return floats;
}

TEST(CastMul, GivesTheFiltersInTheSourcesOrder) {
  std::mt19937 random(5);
  for (const Case& own : {Case{0, {6, 4, 3}}, Case{0, {6, 1, 3, 3}}, Case{1, {5, 7, 2}},
                          Case{3, {6, 2, 3, 2}}, Case{6, {6, 1, 4}}}) {
    const Constant filters = FiltersOf(own);
    const auto q = testing::RandomMatrix(filters.n, filters.k, 8, 0, true, random);
    testing::FakeSink sink;
    const auto nodes = CastAndMul().Emit({filters, own.shape, q, {"w"}}, sink);
    ASSERT_EQ(nodes.size(), 1u);
    EXPECT_EQ(nodes[0].back().output(0), "w");
    const auto floats = FloatsOf(sink, nodes[0]);
    ASSERT_EQ(int64_t(floats.size()), NumElements(own.shape));
    for (int64_t n = 0; n < q.n; ++n) {
      for (int64_t k = 0; k < q.k; ++k) {
        EXPECT_EQ(floats[size_t(filters.ElementOf(n, k))], testing::WeightOf(q, n, k));
      }
    }
  }
}

TEST(CastMul, TheShapeOfGroupsIsTakenAway) {
  std::mt19937 random(5);
  const Case own{3, {6, 2, 4}};
  const auto q = testing::RandomMatrix(6, 8, 8, 0, true, random);
  testing::FakeSink sink;
  const auto nodes = CastAndMul().Emit({FiltersOf(own), own.shape, q, {"w"}}, sink);
  EXPECT_THAT(OperatorsOf(nodes.at(0)), ElementsAre("Cast", "Mul", "Reshape"));
  EXPECT_THAT(sink.tensors.at(nodes[0][2].input(1)).data<int64_t>(), ElementsAre(6, 2, 4));
}

TEST(CastMul, ConvolutionsShareWhatIsStored) {
  std::mt19937 random(5);
  const Case own{0, {6, 2, 4}};
  const auto q = testing::RandomMatrix(6, 8, 8, 0, true, random);
  testing::FakeSink sink;
  const auto nodes = CastAndMul().Emit({FiltersOf(own), own.shape, q, {"a", "b"}}, sink);
  ASSERT_EQ(nodes.size(), 2u);
  EXPECT_EQ(nodes[0][0].input(0), nodes[1][0].input(0));
  EXPECT_EQ(nodes[0][1].input(1), nodes[1][1].input(1));
  EXPECT_EQ(sink.tensors.size(), 2u);
}

TEST(CastMul, FollowsTheTypeOfTheConvolution) {
  std::mt19937 random(5);
  const Case own{0, {6, 2, 4}};
  const auto q = testing::RandomMatrix(6, 8, 8, 0, true, random);
  for (const DType type : {DType::kFloat16, DType::kBFloat16}) {
    testing::FakeSink sink;
    const auto nodes = CastAndMul().Emit({FiltersOf(own, type), own.shape, q, {"w"}}, sink);
    const auto& last = nodes.at(0).back();
    const auto& cast = type == DType::kFloat16 ? nodes[0][0] : last;
    EXPECT_EQ(cast.op_type(), "Cast");
    EXPECT_EQ(testing::IntOf(cast, "to"), int64_t(type));
    EXPECT_EQ(sink.tensors.at(nodes[0][1].input(1)).dtype(),
              type == DType::kFloat16 ? DType::kFloat16 : DType::kFloat32);
  }
}

TEST(CastMul, BytesAreWhatIsWritten) {
  std::mt19937 random(5);
  for (const DType type : {DType::kFloat32, DType::kFloat16, DType::kBFloat16}) {
    for (const Case& own : {Case{0, {5, 3, 7}}, Case{1, {5, 7, 2}}, Case{3, {6, 2, 3, 2}}}) {
      const Constant filters = FiltersOf(own, type);
      const auto q = testing::RandomMatrix(filters.n, filters.k, 8, 0, true, random);
      testing::FakeSink sink;
      (void)CastAndMul().Emit({filters, own.shape, q, {"w"}}, sink);
      int64_t written = 0;
      for (const auto& [name, tensor] : sink.tensors) {
        if (tensor.dtype() != DType::kInt64) written += int64_t(tensor.bytes().size());
      }
      TensorFacts facts;
      facts.n = filters.n;
      facts.k = filters.k;
      facts.compute = type;
      EXPECT_EQ(CastAndMul().Bytes(facts, {}), written);
    }
  }
}

TEST(CastMul, RefusesWhatItCannotCompute) {
  TensorFacts facts;
  facts.opset = 13;
  EXPECT_EQ(CastAndMul().Refusal(facts, {}), "");
  facts.compute = DType::kFloat64;
  EXPECT_EQ(CastAndMul().Refusal(facts, {}), "it holds float64");
  facts.compute = DType::kFloat32;
  facts.opset = 6;
  EXPECT_NE(CastAndMul().Refusal(facts, {}), "");
  EXPECT_THROW(CastAndMul().CheckSpec({4, 0, true}), UsageError);
  EXPECT_THROW(CastAndMul().CheckSpec({8, 32, true}), UsageError);
  EXPECT_THROW(CastAndMul().CheckSpec({8, 0, false}), UsageError);
}

}  // namespace
}  // namespace ptq
