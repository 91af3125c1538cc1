// Element types that operators, declarations and initializers tell.
#include "ptq/model/value_types.h"

#include "support/model_builder.h"
#include <gtest/gtest.h>

#include "ptq/model/node_builder.h"

namespace ptq {
namespace {

using testing::GraphBuilder;

ValueTypes TypesOf(const GraphBuilder& builder) {
  // Initializers are not part of a loaded model's proto.
  const Model model = builder.Build();
  std::unordered_map<std::string, DType> known;
  for (const auto& tensor : model.proto().graph().initializer()) {
    known[tensor.name()] = DType(tensor.data_type());
  }
  return ValueTypes(model.proto(), std::move(known));
}

TEST(ValueTypes, FollowOperatorsFromTheInputs) {
  GraphBuilder b;
  b.Input("x", {2, 4}, DType::kFloat16).Op("Relu", {"x"}, "r").Op("Shape", {"r"}, "s");
  b.Op("Less", {"r", "x"}, "l").Output("l", {2, 4}, DType::kBool);
  const ValueTypes types = TypesOf(b);
  EXPECT_EQ(types.Of("x"), DType::kFloat16);
  EXPECT_EQ(types.Of("r"), DType::kFloat16);
  EXPECT_EQ(types.Of("s"), DType::kInt64);
  EXPECT_EQ(types.Of("l"), DType::kBool);
  EXPECT_EQ(types.Of("nobody"), DType::kUndefined);
}

TEST(ValueTypes, TakeWhatACastSays) {
  GraphBuilder b;
  b.Input("x", {4}).Op("Cast", {"x"}, "c");
  SetInt(b.last(), "to", onnx::TensorProto::BFLOAT16);
  b.Op("Abs", {"c"}, "y").Output("y", {4}, DType::kBFloat16);
  EXPECT_EQ(TypesOf(b).Of("y"), DType::kBFloat16);
}

TEST(ValueTypes, KnowInitializersAndWhatIsMadeOfThem) {
  GraphBuilder b;
  b.Weight("w", Tensor::From<float>({4}, {1, 2, 3, 4}).Cast(DType::kFloat16));
  b.Op("Neg", {"w"}, "n").Input("x", {4}, DType::kFloat16).Op("Add", {"x", "n"}, "y");
  b.Output("y", {4}, DType::kFloat16);
  const ValueTypes types = TypesOf(b);
  EXPECT_EQ(types.Of("w"), DType::kFloat16);
  EXPECT_EQ(types.Of("n"), DType::kFloat16);
}

TEST(ValueTypes, ReadTheBranchesOfAnIf) {
  GraphBuilder b;
  b.Input("x", {4}).Input("c", {}, DType::kBool).Op("If", {"c"}, "y");
  for (const std::string name : {"then_branch", "else_branch"}) {
    auto& branch = *testing::AddAttribute(b.last(), name, onnx::AttributeProto::GRAPH).mutable_g();
    branch.set_name(name);
    testing::FillNode(*branch.add_node(), "Relu", {"x"}, {"of_" + name});
    testing::Declare(*branch.add_output(), "of_" + name, DType::kFloat32, {4});
  }
  b.Op("Abs", {"y"}, "z").Output("z", {4});
  const ValueTypes types = TypesOf(b);
  EXPECT_EQ(types.Of("of_then_branch"), DType::kFloat32);
  EXPECT_EQ(types.Of("y"), DType::kFloat32);
}

TEST(ValueTypes, LeaveADeclarationToWhatOperatorsDoNotTell) {
  GraphBuilder b;
  b.Input("x", {4}).Op("Mystery", {"x"}, "m");
  b.last().set_domain("my.domain");
  b.Output("m", {4}, DType::kFloat16);
  EXPECT_EQ(TypesOf(b).Of("m"), DType::kFloat16);
}

}  // namespace
}  // namespace ptq
