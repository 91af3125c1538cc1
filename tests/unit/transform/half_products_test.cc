// FP16 products of codes get Casts in front of them where a runtime would turn them to FP32.
#include "ptq/transform/half_products.h"

#include "transform_testing.h"
#include <gtest/gtest.h>

#include "ptq/model/unique_names.h"

namespace ptq {
namespace {

using testing::GraphBuilder;
using testing::Names;

/// y = (activation(x) · W₁, activation(x) · W₂); `scales` is the scales' type.
GraphBuilder TwoProducts(const std::string& activation, DType scales, int64_t level) {
  GraphBuilder b;
  b.Input("x", {2, 32}, DType::kFloat16).Op(activation, {"x"}, "h");
  for (const std::string name : {"a", "b"}) {
    onnx::TensorProto& tensor = *b.graph().add_initializer();
    testing::FillTensor(tensor, name + "_scales", Tensor::Filled<float>({4, 1}, 1.0F).Cast(scales));
    b.Op("MatMulNBits", {"h", name + "_codes", name + "_scales"}, name)
        .Domain("com.microsoft")
        .Int("accuracy_level", level);
  }
  return b;
}

int Shield(onnx::GraphProto& graph) {
  UniqueNames names(graph);
  return ShieldHalfProducts(graph, {}, [&](const std::string& name) { return names.Take(name); });
}

TEST(HalfProducts, ReadersOfOneActivationShareTheCasts) {
  GraphBuilder b = TwoProducts("Relu", DType::kFloat16, 4);
  EXPECT_EQ(Shield(b.graph()), 1);
  EXPECT_EQ(testing::OpTypes(b.graph()),
            (Names{"Relu", "Cast", "Cast", "MatMulNBits", "MatMulNBits"}));
  EXPECT_EQ(b.graph().node(1).input(0), "h");
  EXPECT_EQ(testing::IntOf(b.graph().node(1), "to"), int64_t(DType::kFloat32));
  EXPECT_EQ(testing::IntOf(b.graph().node(2), "to"), int64_t(DType::kFloat16));
  for (const int product : {3, 4}) {
    EXPECT_EQ(b.graph().node(product).input(0), b.graph().node(2).output(0));
  }
  EXPECT_EQ(Shield(b.graph()), 0) << "the Casts are enough";
}

TEST(HalfProducts, OthersStayAsTheyAre) {
  EXPECT_EQ(Shield(TwoProducts("Relu", DType::kFloat32, 4).graph()), 0);
  EXPECT_EQ(Shield(TwoProducts("Relu", DType::kFloat16, 0).graph()), 0);
  EXPECT_EQ(Shield(TwoProducts("Cast", DType::kFloat16, 4).graph()), 0);
  EXPECT_EQ(Shield(TwoProducts("RMSNormalization", DType::kFloat16, 4).graph()), 0);
}

TEST(HalfProducts, ABranchThatMakesItsActivationGetsItsOwn) {
  GraphBuilder inner = TwoProducts("Relu", DType::kFloat16, 4);
  GraphBuilder b;
  b.Input("c", {}, DType::kBool).Input("x", {2, 32}, DType::kFloat16).Op("If", {"c"}, "y");
  for (const std::string name : {"then_branch", "else_branch"}) {
    *testing::AddAttribute(b.last(), name, onnx::AttributeProto::GRAPH).mutable_g() = inner.graph();
  }
  EXPECT_EQ(Shield(b.graph()), 2);
}

TEST(HalfProducts, AnActivationOfAnotherGraphNeedsNone) {
  GraphBuilder inner = TwoProducts("Relu", DType::kFloat16, 4);
  onnx::GraphProto branch = inner.graph();
  branch.mutable_node()->DeleteSubrange(0, 1);
  EXPECT_EQ(Shield(branch), 0);
}

}  // namespace
}  // namespace ptq
