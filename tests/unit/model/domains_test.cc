// Each domain keeps one name and its last import.
#include "support/model_builder.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/model/graph.h"

namespace ptq {
namespace {

using Imports = std::vector<std::pair<std::string, int64_t>>;

Imports ImportsOf(const Model& model) {
  Imports imports;
  for (const auto& import : model.proto().opset_import()) {
    imports.emplace_back(import.domain(), import.version());
  }
  return imports;
}

testing::GraphBuilder Importing(const Imports& imports) {
  testing::GraphBuilder b;
  b.proto().clear_opset_import();
  for (const auto& [domain, version] : imports) b.Import(domain, version);
  b.Input("x", {2, 3}).Op("Relu", {"x"}, "y").Output("y", {2, 3});
  return b;
}

TEST(Domains, KeepTheLastOfSeveralImports) {
  EXPECT_EQ(ImportsOf(Importing({{"", 11}, {"", 17}}).Build()), Imports({{"", 17}}));
  EXPECT_EQ(ImportsOf(Importing({{"", 17}, {"ai.onnx", 11}}).Build()), Imports({{"", 11}}));
  EXPECT_EQ(ImportsOf(Importing({{"ai.onnx", 17}, {"x", 1}, {"", 17}, {"x", 2}}).Build()),
            Imports({{"", 17}, {"x", 2}}));
}

TEST(Domains, CallTheDefaultOneByItsEmptyName) {
  auto b = Importing({{"ai.onnx", 17}});
  b.Domain("ai.onnx");
  b.Input("flag", {}, DType::kBool).Op("If", {"flag"}, "z").Output("z", {2, 3});
  for (const char* name : {"then_branch", "else_branch"}) {
    onnx::GraphProto& body =
        *testing::AddAttribute(b.last(), name, onnx::AttributeProto::GRAPH).mutable_g();
    testing::FillNode(*body.add_node(), "Abs", {"x"}, {std::string(name) + "_out"});
    body.mutable_node(0)->set_domain("ai.onnx");
    body.add_output()->set_name(std::string(name) + "_out");
  }
  const Model model = b.Build();
  EXPECT_EQ(ImportsOf(model), Imports({{"", 17}}));
  EXPECT_EQ(model.Opset(""), 17);
  EXPECT_EQ(model.graph().node(0).domain(), "");
  EXPECT_EQ(model.graph().node(1).attribute(0).g().node(0).domain(), "");
}

TEST(Domains, AreUnifiedInFunctionsBeforeTheseAreInlined) {
  auto b = Importing({{"own", 1}, {"ai.onnx", 17}, {"", 17}});
  auto& function = *b.proto().add_functions();
  function.set_name("Twice");
  function.set_domain("own");
  function.add_input("a");
  function.add_output("b");
  for (const char* domain : {"", "ai.onnx"}) {
    auto* import = function.add_opset_import();
    import->set_domain(domain);
    import->set_version(17);
  }
  testing::FillNode(*function.add_node(), "Add", {"a", "a"}, {"b"});
  function.mutable_node(0)->set_domain("ai.onnx");
  b.Op("Twice", {"y"}, "z").Domain("own").Output("z", {2, 3});
  const Model model = b.Build();
  EXPECT_EQ(ImportsOf(model), Imports({{"own", 1}, {"", 17}}));
  EXPECT_EQ(model.graph().node(1).op_type(), "Add");
  EXPECT_EQ(model.graph().node(1).domain(), "");
}

TEST(Domains, ImportWhatTheRuntimeKnowsByItself) {
  auto b = Importing({{"", 17}});
  b.Op("Gelu", {"y"}, "z").Domain("com.microsoft").Output("z", {2, 3});
  EXPECT_EQ(ImportsOf(b.Build()), Imports({{"", 17}, {"com.microsoft", 1}}));
}

}  // namespace
}  // namespace ptq
