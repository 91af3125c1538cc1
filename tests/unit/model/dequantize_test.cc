// Weights against formulas that are written out here, for the forms that no quantizer at hand
// makes.
#include <algorithm>
#include <cmath>

#include "support/model_builder.h"
#include "support/temp_directory.h"
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/model/graph.h"
#include "ptq/tensor/packed_integers.h"

namespace ptq {
namespace {

using testing::GraphBuilder;

constexpr char kMicrosoft[] = "com.microsoft";

Tensor Bytes(Shape shape, uint32_t seed) {
  std::mt19937 random(seed);
  Tensor tensor(DType::kUint8, std::move(shape));
  for (uint8_t& byte : tensor.mutable_data<uint8_t>()) byte = uint8_t(random());
  return tensor;
}

/// The only float initializer with these dimensions.
Tensor WeightOf(const Model& model, const Shape& shape) {
  const onnx::TensorProto* found = nullptr;
  for (const auto& tensor : model.graph().initializer()) {
    if (tensor.data_type() != onnx::TensorProto::FLOAT) continue;
    if (Shape(tensor.dims().begin(), tensor.dims().end()) != shape) continue;
    EXPECT_EQ(found, nullptr) << "two of that shape";
    found = &tensor;
  }
  if (found == nullptr) throw InternalError("no weight of shape " + ToString(shape));
  return model.weights().Read(*found);
}

std::vector<std::string> OpsOf(const onnx::GraphProto& graph) {
  std::vector<std::string> types;
  for (const auto& node : graph.node()) types.push_back(node.op_type());
  return types;
}

GraphBuilder Products() {
  GraphBuilder b(21);
  b.Import(kMicrosoft, 1).Input("x", {-1, 6}).Output("y", {-1, 5});
  return b;
}

TEST(Dequantize, ReadsColumnsOfReorderedGroupsWithFloatZeroPoints) {
  GraphBuilder b(21);
  b.Import(kMicrosoft, 1).Input("x", {-1, 32}).Output("y", {-1, 3});
  const Tensor codes = Bytes({3, 2, 8}, 1);
  const Tensor scales = testing::RandomTensor({3, 2}, 1.0f, 2);
  const Tensor zeros = testing::RandomTensor({3, 2}, 8.0f, 3);
  std::vector<int32_t> groups(32);
  for (size_t i = 0; i < groups.size(); ++i) groups[i] = int32_t(i * 7 / 3 % 2);
  b.Weight("codes", codes).Weight("scales", scales).Weight("zeros", zeros);
  b.Weight("groups", Tensor::From<int32_t>({32}, std::span<const int32_t>(groups)));
  b.Op("MatMulNBits", {"x", "codes", "scales", "zeros", "groups"}, "y", "/fc/MatMul_Q4");
  b.Domain(kMicrosoft).Int("K", 32).Int("N", 3).Int("block_size", 16).Int("bits", 4);
  const QuantizedWeights found = b.Build().FindQuantizedWeights();
  ASSERT_EQ(found.nodes.size(), 1U);
  EXPECT_EQ(found.nodes[0].bits, 4);
  const Model model = Model::FromProto(b.proto(), /*dequantize=*/true);
  EXPECT_TRUE(model.FindQuantizedWeights().nodes.empty());
  EXPECT_EQ(OpsOf(model.graph()), (std::vector<std::string>{"Transpose", "MatMul"}));
  EXPECT_EQ(model.graph().node(1).name(), "/fc/MatMul");
  const Tensor weight = WeightOf(model, {3, 32});
  for (size_t n = 0; n < 3; ++n) {
    for (size_t k = 0; k < 32; ++k) {
      const uint8_t byte = codes.data<uint8_t>()[n * 16 + k / 2];
      const auto code = float(k % 2 == 0 ? byte & 15 : byte >> 4);
      const size_t at = n * 2 + size_t(groups[k]);
      EXPECT_EQ(weight.data<float>()[n * 32 + k],
                (code - zeros.data<float>()[at]) * scales.data<float>()[at]);
    }
  }
}

TEST(Dequantize, ReadsBitsAndBytesFormats) {
  for (const int type : {0, 1}) {
    GraphBuilder b = Products();
    const Tensor codes = Bytes({15}, 4);
    const Tensor scales = testing::RandomTensor({2}, 1.0f, 5);
    b.Weight("w_Bnb4", codes).Weight("absmax", scales);
    b.Op("MatMulBnb4", {"x", "w_Bnb4", "absmax"}, "y").Domain(kMicrosoft);
    b.Int("K", 6).Int("N", 5).Int("block_size", 16).Int("quant_type", type);
    const Model model = Model::FromProto(b.proto(), /*dequantize=*/true);
    const Tensor weight = WeightOf(model, {5, 6});
    for (size_t i = 0; i < 30; ++i) {
      const uint8_t byte = codes.data<uint8_t>()[i / 2];
      const auto code = size_t(i % 2 == 0 ? byte >> 4 : byte & 15);
      EXPECT_EQ(weight.data<float>()[i], FloatCodebook(type)[code] * scales.data<float>()[i / 16]);
    }
  }
}

TEST(Dequantize, ReadsEveryLayoutOfDequantizeLinear) {
  for (const int64_t axis : {0, 1}) {
    for (const int64_t block : {0, 4}) {
      GraphBuilder b = Products();
      const Tensor codes = Bytes({6, 5}, 6);
      const Shape of_blocks = axis == 0 ? Shape{2, 5} : Shape{6, 2};
      const Shape shape = block > 0 ? of_blocks : Shape{axis == 0 ? 6 : 5};
      const Tensor scales = testing::RandomTensor(shape, 1.0f, 7);
      const Tensor zeros = Bytes(shape, 8);
      b.Weight("w_quantized", codes).Weight("scales", scales).Weight("zeros", zeros);
      b.Op("DequantizeLinear", {"w_quantized", "scales", "zeros"}, "w").Int("axis", axis);
      if (block > 0) b.Int("block_size", block);
      b.Op("MatMul", {"x", "w"}, "y");
      const Model model = Model::FromProto(b.proto(), /*dequantize=*/true);
      const Tensor weight = WeightOf(model, {6, 5});
      for (size_t i = 0; i < 6; ++i) {
        for (size_t j = 0; j < 5; ++j) {
          size_t at = axis == 0 ? i : j;
          if (block > 0) at = axis == 0 ? i / 4 * 5 + j : i * 2 + j / 4;
          const float expected =
              float(codes.data<uint8_t>()[i * 5 + j] - zeros.data<uint8_t>()[at]) *
              scales.data<float>()[at];
          EXPECT_EQ(weight.data<float>()[i * 5 + j], expected) << axis << ' ' << block;
        }
      }
    }
  }
}

TEST(Dequantize, LeavesBiasesAndActivationsAlone) {
  GraphBuilder b = Products();
  b.Random("w", {6, 5}).Weight("scale", Tensor::Scalar(0.5f));
  b.Weight("bias_codes", Tensor::Filled<int8_t>({5}, 3));
  b.Weight("zero", Tensor::Scalar<int8_t>(0));
  b.Op("QuantizeLinear", {"x", "scale", "zero"}, "q").Op("DequantizeLinear", {"q", "scale"}, "d");
  b.Op("DequantizeLinear", {"bias_codes", "scale"}, "bias");
  b.Op("MatMul", {"d", "w"}, "p").Op("Add", {"p", "bias"}, "y");
  const Model model = b.Build();
  const QuantizedWeights found = model.FindQuantizedWeights();
  EXPECT_TRUE(found.nodes.empty());
  EXPECT_EQ(found.float_products, 1);
}

TEST(Dequantize, GivesBranchesOneWeightForTheSameCodes) {
  GraphBuilder b(21);
  b.Import(kMicrosoft, 1).Input("x", {-1, 16}).Input("c", {}, DType::kBool);
  b.Output("y", {-1, 3});
  b.Weight("codes", Bytes({3, 1, 8}, 9)).Weight("scales", testing::RandomTensor({3}, 1.0f, 10));
  b.Op("If", {"c"}, "y");
  for (const std::string name : {"then_branch", "else_branch"}) {
    auto& attribute = testing::AddAttribute(b.last(), name, onnx::AttributeProto::GRAPH);
    onnx::GraphProto& branch = *attribute.mutable_g();
    branch.set_name(name);
    auto& node = *branch.add_node();
    testing::FillNode(node, "MatMulNBits", {"x", "codes", "scales"}, {name + "_y"}, name);
    node.set_domain(kMicrosoft);
    testing::SetInt(node, "K", 16);
    testing::SetInt(node, "N", 3);
    testing::SetInt(node, "block_size", 16);
    testing::Declare(*branch.add_output(), name + "_y", DType::kFloat32, {-1, 3});
  }
  EXPECT_EQ(b.Build().FindQuantizedWeights().nodes.size(), 2U);
  const Model model = Model::FromProto(b.proto(), /*dequantize=*/true);
  EXPECT_EQ(WeightOf(model, {3, 16}).size(), 48);  // there is one alone
  for (const auto& attribute : model.graph().node(0).attribute()) {
    EXPECT_EQ(OpsOf(attribute.g()), (std::vector<std::string>{"Transpose", "MatMul"}));
  }
  EXPECT_NO_THROW(Graph{model});
}

TEST(Dequantize, LetsRoundingsOfActivationsGoWhereThatIsAskedFor) {
  GraphBuilder b = Products();
  b.Weight("scale", Tensor::Scalar(0.1f)).Weight("zero", Tensor::Scalar<uint8_t>(3));
  b.Weight("w", testing::RandomTensor({6, 5}, 1.0f, 15));
  b.Op("QuantizeLinear", {"x", "scale", "zero"}, "q");
  b.Op("DequantizeLinear", {"q", "scale", "zero"}, "r").Op("MatMul", {"r", "w"}, "y");
  const testing::TempDirectory directory;
  const auto file = directory.Write("model.onnx", b.Bytes());
  EXPECT_EQ(OpsOf(Model::Load(file, true).graph()).size(), 3U);
  const Model model = Model::Load(file, true, /*float_activations=*/true);
  EXPECT_EQ(OpsOf(model.graph()), (std::vector<std::string>{"MatMul"}));
  EXPECT_EQ(model.graph().node(0).input(0), "x");
}

TEST(Dequantize, TakesAColumnForAWeightWhereAProductReadsIt) {
  GraphBuilder b = Products();
  b.Weight("codes", Bytes({6, 1}, 14)).Weight("scale", Tensor::From<float>({1}, {0.1f}));
  b.Op("DynamicQuantizeLinear", {"x"}, "q");
  b.last().add_output("s");
  b.last().add_output("z");
  b.Op("MatMulInteger", {"q", "codes", "z"}, "i", "product").Op("Cast", {"i"}, "f").Int("to", 1);
  b.Op("Mul", {"s", "scale"}, "scales").Op("Mul", {"f", "scales"}, "y");
  EXPECT_EQ(b.Build().FindQuantizedWeights().nodes.size(), 1U);
  const Model model = Model::FromProto(b.proto(), /*dequantize=*/true);
  EXPECT_EQ(WeightOf(model, {6, 1}).size(), 6);
  EXPECT_EQ(OpsOf(model.graph()), (std::vector<std::string>{"MatMul"}));
}

TEST(Dequantize, RefusesWhatItCannotTellFromItsSurroundings) {
  GraphBuilder b = Products();
  b.Weight("codes", Bytes({6, 5}, 11)).Weight("scale", Tensor::Scalar(0.1f));
  b.Op("DynamicQuantizeLinear", {"x"}, "q");
  b.last().add_output("s");
  b.last().add_output("z");
  b.Op("MatMulInteger", {"q", "codes", "z"}, "i", "product").Op("Cast", {"i"}, "y").Int("to", 1);
  EXPECT_EQ(b.Build().FindQuantizedWeights().nodes.size(), 1U);
  try {
    (void)Model::FromProto(b.proto(), /*dequantize=*/true);
    FAIL() << "a product of integers has no scale here";
  } catch (const UnsupportedError& error) {
    EXPECT_NE(std::string(error.what()).find("'product' (MatMulInteger)"), std::string::npos);
  }
}

TEST(Dequantize, RoundsFloatsBetweenAPairOfQuantizations) {
  const Tensor floats = testing::RandomTensor({6, 5}, 3.0f, 21);
  const Tensor scales = testing::RandomTensor({5}, 0.1f, 22);
  std::vector<int8_t> zeros = {0, 3, -2, 7, -8};
  for (const bool same : {true, false}) {
    GraphBuilder b = Products();
    b.Weight("floats", floats).Weight("scales", scales).Weight("others", floats);
    b.Weight("zeros", Tensor::From<int8_t>({5}, std::span<const int8_t>(zeros)));
    b.Op("QuantizeLinear", {"floats", "scales", "zeros"}, "codes").Int("axis", 1);
    b.Op("DequantizeLinear", {"codes", "scales", "zeros"}, "w").Int("axis", same ? 1 : 0);
    b.Op("MatMul", {"x", "w"}, "y");
    EXPECT_EQ(b.Build().FindQuantizedWeights().nodes.size(), same ? 1U : 0U) << "another axis";
    if (!same) continue;
    const Model model = Model::FromProto(b.proto(), /*dequantize=*/true);
    EXPECT_EQ(OpsOf(model.graph()), std::vector<std::string>{"MatMul"});
    const std::string weight = model.graph().node(0).input(1);
    const auto found = std::ranges::find_if(
        model.graph().initializer(), [&](const auto& tensor) { return tensor.name() == weight; });
    ASSERT_NE(found, model.graph().initializer().end());
    const Tensor read = model.weights().Read(*found);
    const auto grid = model.weights().GridOf(*found);
    ASSERT_TRUE(grid.has_value());
    EXPECT_EQ(grid->bits, 8);
    for (int64_t i = 0; i < 30; ++i) {
      const float scale = scales.data<float>()[size_t(i % 5)];
      const float zero = zeros[size_t(i % 5)];
      const float code = std::clamp(std::nearbyint(floats.data<float>()[size_t(i)] / scale) + zero,
                                    -128.0f, 127.0f);
      EXPECT_EQ(read.data<float>()[size_t(i)], (code - zero) * scale) << i;
      EXPECT_EQ(grid->scales[grid->layout.At(i)], scale);
      EXPECT_EQ(grid->zeros[grid->layout.At(i)], int(zero) + 128);
    }
  }
}

TEST(Dequantize, RefusesCodesOfAnotherNumber) {
  GraphBuilder b = Products();
  b.Weight("codes", Bytes({5, 1, 8}, 12)).Weight("scales", testing::RandomTensor({4}, 1.0f, 13));
  b.Op("MatMulNBits", {"x", "codes", "scales"}, "y").Domain(kMicrosoft);
  b.Int("K", 6).Int("N", 5).Int("block_size", 16);
  const Model model = Model::FromProto(b.proto(), /*dequantize=*/true);
  EXPECT_THROW((void)WeightOf(model, {5, 6}), InputError);
}

}  // namespace
}  // namespace ptq
