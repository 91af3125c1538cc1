// Which faults of a model are found, and what passes.
#include "ptq/emit/model_check.h"

#include <functional>

#include "support/model_builder.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using testing::GraphBuilder;
using ::testing::HasSubstr;

/// What is wrong with a model; empty when it loads.
std::string Complaint(GraphBuilder& b) {
  try {
    CheckLoads(b.proto());
  } catch (const QualityError& error) {
    return error.what();
  }
  return "";
}

void AddInitializer(GraphBuilder& b, const std::string& name, DType dtype, const Shape& shape) {
  auto* tensor = b.graph().add_initializer();
  tensor->set_name(name);
  tensor->set_data_type(static_cast<int32_t>(dtype));
  for (const int64_t dim : shape) tensor->add_dims(dim);
}

/// As the QDQ format writes a linear of blocks.
GraphBuilder Blocked(int64_t opset, int64_t ir, DType codes, DType scales = DType::kFloat32) {
  GraphBuilder b(opset);
  b.proto().set_ir_version(ir);
  b.Input("x", {2, 64}, scales).Output("y", {2, 8}, scales);
  AddInitializer(b, "w", codes, {64, 8});
  AddInitializer(b, "s", scales, {2, 8});
  b.Op("DequantizeLinear", {"w", "s"}, "d", "dequantize").Int("axis", 0).Int("block_size", 32);
  b.Op("MatMul", {"x", "d"}, "y");
  return b;
}

/// As MatMulNBits is written.
GraphBuilder NBits() {
  GraphBuilder b(11);
  b.Import("com.microsoft", 1).Input("x", {2, 64}).Output("y", {2, 8});
  AddInitializer(b, "w", DType::kUint8, {8, 2, 16});
  AddInitializer(b, "s", DType::kFloat32, {8, 2});
  b.Op("MatMulNBits", {"x", "w", "s"}, "y", "product").Domain("com.microsoft");
  b.Int("K", 64).Int("N", 8).Int("bits", 4).Int("block_size", 32).Int("accuracy_level", 4);
  return b;
}

TEST(ModelCheck, LetsPassWhatTheSourceHasAlready) {
  GraphBuilder source(17);
  source.Input("x", {2, 8}).Output("y", {2, 8});
  source.Op("Softmax", {"x"}, "y", "odd").Int("axes", 1);
  EXPECT_THAT(Complaint(source), HasSubstr("no attribute 'axes'"));
  EXPECT_NO_THROW(CheckLoads(source.proto(), source.proto()));
  GraphBuilder other(17);
  other.Input("x", {2, 8}).Output("y", {2, 8});
  other.Op("Softmax", {"x"}, "y", "odd").Int("axis", 1);
  EXPECT_THROW(CheckLoads(source.proto(), other.proto()), QualityError);
}

TEST(ModelCheck, KnowsAFaultOfTheSourceThatARaisedOpsetBringsToLight) {
  const auto normalization = [](int64_t opset) {
    GraphBuilder b(opset);
    b.Input("x", {2, 8}).Input("g", {8}).Output("y", {2, 8});
    b.Op("LayerNormalization", {"x", "g"}, "y", "norm").Int("epsion", 1);
    return b;
  };
  GraphBuilder source = normalization(12);
  GraphBuilder raised = normalization(21);
  EXPECT_THAT(Complaint(raised), HasSubstr("no attribute 'epsion'"));
  EXPECT_NO_THROW(CheckLoads(raised.proto(), source.proto()));
}

TEST(ModelCheck, PassesWhatTheFormatsWrite) {
  auto blocked = Blocked(21, 10, DType::kInt4);
  EXPECT_EQ(Complaint(blocked), "");
  auto half = Blocked(21, 10, DType::kUint4, DType::kFloat16);
  EXPECT_EQ(Complaint(half), "");
  auto two_bits = Blocked(25, 13, DType::kInt2);
  EXPECT_EQ(Complaint(two_bits), "");
  auto nbits = NBits();
  EXPECT_EQ(Complaint(nbits), "");
  auto decoder = testing::ToyDecoder(2);
  EXPECT_EQ(Complaint(decoder), "");
}

TEST(ModelCheck, FindsAnAttributeOfALaterOpset) {
  auto b = Blocked(20, 10, DType::kInt8);
  EXPECT_THAT(Complaint(b), HasSubstr("'dequantize' (DequantizeLinear of ai.onnx 20): it has no "
                                      "attribute 'block_size'"));
  auto axis = GraphBuilder(12);
  AddInitializer(axis, "w", DType::kInt8, {4, 8});
  AddInitializer(axis, "s", DType::kFloat32, {8});
  axis.Op("DequantizeLinear", {"w", "s"}, "y").Int("axis", 1).Output("y", {4, 8});
  EXPECT_THAT(Complaint(axis), HasSubstr("no attribute 'axis'"));
  axis.proto().mutable_opset_import(0)->set_version(13);
  EXPECT_EQ(Complaint(axis), "");
}

TEST(ModelCheck, FindsTypesOfALaterOpset) {
  const std::vector<std::tuple<int64_t, DType, DType, std::string>> cases = {
      {24, DType::kInt2, DType::kFloat32, "'w' cannot be int2"},
      {24, DType::kUint2, DType::kFloat32, "'w' cannot be uint2"},
  };
  for (const auto& [opset, codes, scales, complaint] : cases) {
    auto b = Blocked(opset, 13, codes, scales);
    EXPECT_THAT(Complaint(b), HasSubstr(complaint));
  }
  auto channel = GraphBuilder(17);  // scales of 16 bits came with opset 19
  AddInitializer(channel, "w", DType::kInt8, {4, 8});
  AddInitializer(channel, "s", DType::kFloat16, {8});
  channel.Op("DequantizeLinear", {"w", "s"}, "y").Int("axis", 1);
  EXPECT_THAT(Complaint(channel), HasSubstr("'s' cannot be float16"));
  auto four = GraphBuilder(19);
  AddInitializer(four, "w", DType::kUint4, {4, 8});
  AddInitializer(four, "s", DType::kFloat32, {8});
  four.proto().set_ir_version(10);
  four.Op("DequantizeLinear", {"w", "s"}, "y").Int("axis", 1);
  EXPECT_THAT(Complaint(four), HasSubstr("'w' cannot be uint4"));
  auto cast = GraphBuilder(12);
  cast.Input("x", {4}).Op("Cast", {"x"}, "y").Int("to", int64_t(DType::kBFloat16));
  EXPECT_THAT(Complaint(cast), HasSubstr("output cannot be bfloat16"));
}

TEST(ModelCheck, FindsTypesThatTheIrVersionDoesNotKnow) {
  for (const auto& [opset, ir, codes] : {std::tuple{21, 9, DType::kInt4},
                                         {21, 9, DType::kUint4},
                                         {25, 12, DType::kInt2},
                                         {25, 10, DType::kUint2}}) {
    auto b = Blocked(opset, ir, codes);
    EXPECT_THAT(Complaint(b),
                HasSubstr("needs IR version " + std::to_string(opset == 21 ? 10 : 13)))
        << DTypeName(codes);
  }
}

TEST(ModelCheck, FindsImportsThatAreMissingOrDouble) {
  for (const char* other : {"", "ai.onnx"}) {
    auto b = Blocked(21, 10, DType::kInt4);
    b.Import(other, 17);
    EXPECT_THAT(Complaint(b), HasSubstr("twice")) << other;
  }
  auto twice = NBits();
  twice.Import("com.microsoft", 1);
  EXPECT_THAT(Complaint(twice), HasSubstr("'com.microsoft' twice"));
  auto none = NBits();
  none.proto().mutable_opset_import()->RemoveLast();
  EXPECT_THAT(Complaint(none), HasSubstr("does not import"));
}

TEST(ModelCheck, FindsWhatIsWrongWithANodeOfOurs) {
  const std::vector<std::pair<std::string, std::function<void(onnx::NodeProto&)>>> cases = {
      {"'K' is missing", [](auto& node) { node.mutable_attribute()->DeleteSubrange(0, 1); }},
      {"'bits' has another type",
       [](auto& node) { node.mutable_attribute(2)->set_type(onnx::AttributeProto::FLOAT); }},
      {"no attribute 'group_size'", [](auto& node) { testing::SetInt(node, "group_size", 32); }},
      {"does not take 2 inputs", [](auto& node) { node.mutable_input()->RemoveLast(); }},
      {"'s' cannot be float32", [](auto& node) { node.set_input(1, "s"); }},
      {"that many outputs", [](auto& node) { node.add_output("z"); }},
  };
  for (const auto& [complaint, damage] : cases) {
    auto b = NBits();
    damage(b.last());
    EXPECT_THAT(Complaint(b), HasSubstr(complaint));
  }
}

TEST(ModelCheck, FindsTypesThatDoNotGoTogether) {
  auto b = GraphBuilder(17);  // a scale of another type than the activation, behind a Cast
  b.Input("x", {2, 8});
  AddInitializer(b, "s", DType::kFloat32, {8});
  b.Op("Cast", {"x"}, "half").Int("to", int64_t(DType::kFloat16));
  b.Op("Mul", {"half", "s"}, "y", "scale");
  EXPECT_THAT(Complaint(b), HasSubstr("'scale' (Mul of ai.onnx 17): its inputs must be of one "
                                      "type, and are float16 and float32"));
  auto declared = GraphBuilder(17);
  declared.Input("x", {2}).Op("Cast", {"x"}, "y").Int("to", int64_t(DType::kFloat16));
  declared.Output("y", {2});
  EXPECT_THAT(Complaint(declared), HasSubstr("declared as float32 and is float16"));
}

TEST(ModelCheck, FindsOperatorsOfALaterOpsetAndFormsOfAnOlderOne) {
  auto einsum = GraphBuilder(11);
  einsum.Input("x", {2, 3, 4}).Op("Einsum", {"x"}, "y");
  EXPECT_THAT(Complaint(einsum), HasSubstr("came with opset 12"));
  auto squeeze = GraphBuilder(21);  // of opset 11, and not moved
  squeeze.Input("x", {2, 1}).Op("Squeeze", {"x"}, "y").Ints("axes", {1});
  EXPECT_THAT(Complaint(squeeze), HasSubstr("no attribute 'axes'"));
}

TEST(ModelCheck, LooksIntoSubgraphs) {
  auto b = GraphBuilder(17);
  b.Input("flag", {}, DType::kBool).Input("x", {2, 3, 4}).Op("If", {"flag"}, "y");
  for (const char* name : {"then_branch", "else_branch"}) {
    auto& body = *testing::AddAttribute(b.last(), name, onnx::AttributeProto::GRAPH).mutable_g();
    testing::FillNode(*body.add_node(), "Cast", {"x"}, {"h"});
    testing::SetInt(*body.mutable_node(0), "to", int64_t(DType::kFloat16));
    testing::FillNode(*body.add_node(), "Add", {"h", "x"}, {"out"}, "sum");
    body.add_output()->set_name("out");
  }
  EXPECT_THAT(Complaint(b), HasSubstr("'sum' (Add"));
}

TEST(ModelCheck, LeavesOtherDomainsAndPrivateAttributesAlone) {
  auto b = GraphBuilder(17);
  b.Input("x", {4}).Op("Anything", {"x"}, "y").Domain("of.others").Int("size", 3);
  b.Op("Relu", {"y"}, "z").Int("__private", 1);
  b.Op("SimplifiedLayerNormalization", {"z", "z"}, "n").Output("n", {4});
  EXPECT_EQ(Complaint(b), "");
}

}  // namespace
}  // namespace ptq
