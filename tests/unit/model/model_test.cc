// What can be loaded as a model, and that its structure is copied without weights.
#include "ptq/model/model.h"

#include "support/model_builder.h"
#include "support/temp_directory.h"
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using testing::GraphBuilder;
using testing::TempDirectory;

GraphBuilder Relu() {
  GraphBuilder b;
  b.Input("x", {2}).Op("Relu", {"x"}, "y").Output("y", {2}).Random("w", {64});
  return b;
}

TEST(ModelLoad, RefusesWhatIsNoModel) {
  const TempDirectory directory;
  EXPECT_THROW((void)Model::Load(directory.path() / "missing.onnx"), InputError);
  EXPECT_THROW((void)Model::Load(directory.Write("text.onnx", "These are words.\n")), InputError);
  EXPECT_THROW((void)Model::Load(directory.Write("empty.onnx", "")), InputError);
}

TEST(ModelLoad, RefusesATruncatedFile) {
  const TempDirectory directory;
  const std::string bytes = Relu().Bytes();
  for (const size_t size : {bytes.size() - 1, bytes.size() / 2, size_t{3}}) {
    EXPECT_THROW((void)Model::Load(directory.Write("cut.onnx", bytes.substr(0, size))), InputError)
        << size;
  }
}

TEST(ModelLoad, FindsTheModelOfADirectory) {
  const TempDirectory directory;
  const std::string bytes = Relu().Bytes();
  directory.Write("single/any.onnx", bytes);
  EXPECT_EQ(Model::Load(directory.path() / "single").path().filename(), "any.onnx");
  directory.Write("named/other.onnx", bytes);
  directory.Write("named/model.onnx", bytes);
  EXPECT_EQ(Model::Load(directory.path() / "named").path().filename(), "model.onnx");
  directory.Write("below/onnx/model.onnx", bytes);
  EXPECT_EQ(Model::Load(directory.path() / "below").directory().filename(), "onnx");
}

TEST(ModelLoad, RefusesADirectoryWithoutOneObviousModel) {
  const TempDirectory directory;
  const std::string bytes = Relu().Bytes();
  directory.Write("two/a.onnx", bytes);
  directory.Write("two/b.onnx", bytes);
  directory.Write("none/readme.txt", "text");
  EXPECT_THROW((void)Model::Load(directory.path() / "two"), InputError);
  EXPECT_THROW((void)Model::Load(directory.path() / "none"), InputError);
}

TEST(Model, KnowsTheOpsetOfEachDomain) {
  const Model model = Relu().Import("com.microsoft", 1).Build();
  EXPECT_EQ(model.Opset(""), 17);
  EXPECT_EQ(model.Opset("com.microsoft"), 1);
  EXPECT_EQ(model.Opset("other"), 0);
}

TEST(Model, CopiesItsStructureWithoutTheWeights) {
  const Model model = Relu().Build();
  const onnx::ModelProto copy = model.CopyStructure();
  EXPECT_EQ(copy.graph().initializer_size(), 0);
  EXPECT_EQ(copy.graph().node_size(), 1);
  ASSERT_EQ(model.graph().initializer_size(), 1);
  EXPECT_EQ(model.graph().initializer(0).raw_data().size(), 256u);
}

}  // namespace
}  // namespace ptq
