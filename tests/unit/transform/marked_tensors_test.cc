// Tensors of two models: whose they are, and which are equal.
#include "ptq/transform/marked_tensors.h"

#include <cstring>
#include <fstream>
#include <string>

#include "support/model_builder.h"
#include "support/temp_directory.h"
#include <gtest/gtest.h>

namespace ptq {
namespace {

using testing::FillTensor;

onnx::GraphProto Initializers(const std::vector<std::pair<std::string, float>>& values) {
  onnx::GraphProto graph;
  for (const auto& [name, value] : values) {
    FillTensor(*graph.add_initializer(), name, Tensor::Filled<float>({4, 4}, value));
  }
  return graph;
}

TEST(MarkedTensors, FindsEqualInitializersByNameFirstAndEachOnce) {
  const MarkedTensors tensors({});
  const auto found = tensors.FindEqual(Initializers({{"a", 1}, {"b", 1}, {"c", 2}}),
                                       Initializers({{"x", 1}, {"b", 1}, {"y", 1}, {"c", 3}}));
  EXPECT_EQ(found.at("b"), "b");
  EXPECT_EQ(found.at("x"), "a");
  EXPECT_EQ(found.size(), 2u);  // y has no partner left, c is another value
}

TEST(MarkedTensors, TellsTensorsOfOneShapeAndOtherTypesApart) {
  onnx::GraphProto halves;
  FillTensor(*halves.add_initializer(), "a",
             Tensor::Filled<float>({4, 4}, 0).Cast(DType::kFloat16));
  EXPECT_TRUE(MarkedTensors({}).FindEqual(Initializers({{"a", 0}}), halves).empty());
}

TEST(MarkedTensors, ReadsEachModelsTensorFromItsOwnFile) {
  const testing::TempDirectory folder;
  std::vector<Model> models;
  for (const float value : {1.0F, 2.0F}) {
    onnx::ModelProto proto;
    proto.set_ir_version(10);
    proto.add_opset_import()->set_version(21);
    auto& graph = *proto.mutable_graph();
    FillTensor(*graph.add_initializer(), "w", Tensor::Filled<float>({64, 64}, value));
    testing::Declare(*graph.add_output(), "w", DType::kFloat32, {64, 64});
    const auto path = folder.path() / ("m" + std::to_string(int(value)) + ".onnx");
    std::ofstream(path, std::ios::binary) << proto.SerializeAsString();
    models.push_back(Model::LoadUnchanged(path));
  }
  const MarkedTensors tensors({&models[0], &models[1]});
  for (int i = 0; i < 2; ++i) {
    onnx::ModelProto copy = models[size_t(i)].proto();
    MarkedTensors::Mark(copy, i);
    const onnx::TensorProto& tensor = copy.graph().initializer(0);
    ASSERT_EQ(tensor.data_location(), onnx::TensorProto::EXTERNAL);  // stays in the file
    EXPECT_EQ(tensors.SizeOf(tensor), 64 * 64 * 4);
    float first = 0;
    tensors.Read(tensor, [&](std::span<const std::byte> bytes) {
      std::memcpy(&first, bytes.data(), sizeof first);
    });
    EXPECT_EQ(first, float(i + 1));
  }
}

}  // namespace
}  // namespace ptq
