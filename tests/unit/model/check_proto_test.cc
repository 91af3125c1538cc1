// What is refused before anybody reads a model's parts.
#include "check_proto.h"

#include <functional>
#include <string>
#include <vector>

#include "support/model_builder.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using testing::GraphBuilder;
using ::testing::HasSubstr;

/// What is said of y = Add(x, x), whose file was changed.
std::string Refusal(const std::function<void(onnx::GraphProto&)>& change) {
  GraphBuilder b;
  b.Input("x", {2}).Op("Add", {"x", "x"}, "y").Output("y", {2});
  change(*b.proto().mutable_graph());
  try {
    CheckProto(b.proto());
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

TEST(CheckProto, TakesWhatIsWhole) {
  EXPECT_EQ(Refusal([](onnx::GraphProto&) {}), "");
}

TEST(CheckProto, RefusesNodesWithoutTheirOperands) {
  EXPECT_THAT(Refusal([](auto& graph) { graph.mutable_node(0)->mutable_input()->RemoveLast(); }),
              HasSubstr("(Add) has 1 inputs, and needs 2"));
  EXPECT_THAT(Refusal([](auto& graph) { graph.mutable_node(0)->set_input(1, ""); }),
              HasSubstr("(Add) lacks input number 1"));
  EXPECT_EQ(Refusal([](auto& graph) {
              graph.mutable_node(0)->set_op_type("Loop");
              graph.mutable_node(0)->set_input(0, "");
            }),
            "");
  EXPECT_THAT(Refusal([](auto& graph) { graph.mutable_node(0)->clear_output(); }),
              HasSubstr("has no output"));
  EXPECT_EQ(Refusal([](auto& graph) {
              graph.mutable_node(0)->set_domain("somebody.else");
              graph.mutable_node(0)->clear_input();
            }),
            "");
}

TEST(CheckProto, LooksIntoSubgraphs) {
  EXPECT_THAT(Refusal([](auto& graph) {
                auto& attribute = *graph.mutable_node(0)->add_attribute();
                attribute.set_name("body");
                attribute.mutable_g()->add_node()->set_op_type("Relu");
              }),
              HasSubstr("(Relu) has 0 inputs"));
}

TEST(CheckProto, RefusesDimensionsWithoutMeasure) {
  const auto with_dims = [](std::vector<int64_t> dims) {
    return Refusal([&](auto& graph) {
      auto& tensor = *graph.add_initializer();
      tensor.set_name("w");
      for (const int64_t dim : dims) tensor.add_dims(dim);
    });
  };
  EXPECT_EQ(with_dims({3, 0}), "");
  EXPECT_THAT(with_dims({int64_t{1} << 60, 16}), HasSubstr("tensor 'w': shape"));
  EXPECT_THAT(with_dims({2, -1}), HasSubstr("'w' has a negative dimension"));
  EXPECT_THAT(Refusal([](auto& graph) {
                auto& shape =
                    *graph.mutable_input(0)->mutable_type()->mutable_tensor_type()->mutable_shape();
                shape.add_dim()->set_dim_value(int64_t{1} << 32);
                shape.add_dim()->set_dim_value(int64_t{1} << 32);
              }),
              HasSubstr("input 'x': shape"));
  EXPECT_THAT(Refusal([](auto& graph) {
                auto& sparse = *graph.add_sparse_initializer();
                sparse.mutable_values()->set_name("s");
                sparse.add_dims(int64_t{1} << 62);
              }),
              HasSubstr("sparse tensor 's'"));
}

TEST(CheckProto, KeepsTheProgramsOwnMarksToItself) {
  EXPECT_THAT(Refusal([](auto& graph) {
                auto& tensor = *graph.add_initializer();
                tensor.set_name("w");
                tensor.add_external_data()->set_key("quantized");
              }),
              HasSubstr("an entry 'quantized'"));
}

}  // namespace
}  // namespace ptq
