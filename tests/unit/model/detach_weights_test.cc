// Large weights stay in the model's own file.
#include <fstream>

#include "support/model_builder.h"
#include "support/temp_directory.h"
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/model/model.h"

namespace ptq {
namespace {

using testing::GraphBuilder;
using testing::RandomTensor;
using testing::TempDirectory;

GraphBuilder TwoWeights() {
  GraphBuilder b;
  b.Input("x", {1, 64}).Random("large", {64, 64}).Random("small", {64});
  b.Op("MatMul", {"x", "large"}, "m").Op("Add", {"m", "small"}, "y").Output("y", {1, 64});
  return b;
}

TEST(DetachWeights, KeepsLargeOnesInTheFileAndSmallOnesInMemory) {
  const TempDirectory directory;
  GraphBuilder b = TwoWeights();
  b.proto().set_producer_name("somebody");
  const Model model = Model::Load(directory.Write("model.onnx", b.Bytes()));
  ASSERT_EQ(model.graph().initializer_size(), 2);
  const auto& large = model.graph().initializer(0);
  EXPECT_EQ(large.data_location(), onnx::TensorProto::EXTERNAL);
  EXPECT_FALSE(large.has_raw_data());
  EXPECT_TRUE(model.graph().initializer(1).has_raw_data());
  EXPECT_EQ(model.proto().producer_name(), "somebody");
  const Tensor read = model.weights().Read(large);
  EXPECT_EQ(read.shape(), (Shape{64, 64}));
  const Tensor expected = RandomTensor({64, 64}, 0.5f, 1);
  EXPECT_TRUE(std::ranges::equal(read.data<float>(), expected.data<float>()));
  EXPECT_TRUE(model.ExternalFiles().empty()) << "the model file is not beside itself";
}

TEST(DetachWeights, ChangesNothingElse) {
  const TempDirectory directory;
  GraphBuilder b = TwoWeights();
  b.graph().mutable_initializer(0)->set_doc_string("documented");
  b.graph()
      .mutable_initializer(0)
      ->GetReflection()
      ->MutableUnknownFields(b.graph().mutable_initializer(0))
      ->AddVarint(1000, 42);
  const Model model = Model::Load(directory.Write("model.onnx", b.Bytes()));
  onnx::ModelProto restored = model.proto();
  auto& tensor = *restored.mutable_graph()->mutable_initializer(0);
  const Tensor read = model.weights().Read(tensor);
  tensor.set_raw_data(read.bytes().data(), read.bytes().size());
  tensor.clear_external_data();
  tensor.clear_data_location();
  EXPECT_EQ(restored.SerializeAsString(), b.Bytes());
}

TEST(DetachWeights, LeavesWeightsInTypedFieldsAndOtherFiles) {
  const TempDirectory directory;
  GraphBuilder b;
  b.Input("x", {2}).Op("Relu", {"x"}, "y").Output("y", {2});
  auto& typed = *b.graph().add_initializer();
  typed.set_name("typed");
  typed.set_data_type(onnx::TensorProto::FLOAT);
  typed.add_dims(5000);
  for (int i = 0; i < 5000; ++i) typed.add_float_data(0.5f);
  auto& external = *b.graph().add_initializer();
  external.set_name("external");
  external.set_data_type(onnx::TensorProto::FLOAT);
  external.add_dims(2000);
  external.set_data_location(onnx::TensorProto::EXTERNAL);
  auto& place = *external.add_external_data();
  place.set_key("location");
  place.set_value("weights.bin");
  directory.Write("weights.bin", std::string(8000, '\0'));
  const Model model = Model::Load(directory.Write("model.onnx", b.Bytes()));
  EXPECT_EQ(model.graph().initializer(0).float_data_size(), 5000);
  EXPECT_EQ(model.weights().Read(model.graph().initializer(1)).size(), 2000);
  EXPECT_EQ(model.ExternalFiles(), std::vector<std::string>{"weights.bin"});
}

TEST(DetachWeights, SaysWhenATensorHasTooFewBytes) {
  const TempDirectory directory;
  GraphBuilder b = TwoWeights();
  b.graph().mutable_initializer(0)->mutable_raw_data()->resize(8192);
  const Model model = Model::Load(directory.Write("model.onnx", b.Bytes()));
  try {
    (void)model.weights().Read(model.graph().initializer(0));
    FAIL() << "read a tensor that is too short";
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find("needs 16384 bytes, the model holds 8192"),
              std::string::npos)
        << error.what();
  }
}

TEST(DetachWeights, RefusesWhatIsCutInTheMiddleOfAWeight) {
  const TempDirectory directory;
  const std::string bytes = TwoWeights().Bytes();
  for (size_t size = 0; size < bytes.size(); size += 97) {
    EXPECT_THROW((void)Model::Load(directory.Write("cut.onnx", bytes.substr(0, size))), InputError)
        << size;
  }
}

}  // namespace
}  // namespace ptq
