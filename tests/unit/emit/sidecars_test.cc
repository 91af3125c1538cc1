#include "ptq/emit/sidecars.h"

#include "emit_testing.h"
#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/file.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::TempDirectory;

/// A model with external data in `file`, relative to the directory.
Model WriteModel(const TempDirectory& directory, const std::string& path = "model.onnx",
                 const std::string& data = "weights.bin") {
  testing::ModelBuilder builder(17);
  builder.Input("x", {1}).Node("Add", {"x", "w"}, "y").Output("y", {1}).Floats("w", {1}, {1.0f});
  auto* tensor = builder.proto.mutable_graph()->mutable_initializer(0);
  tensor->clear_raw_data();
  tensor->set_data_location(onnx::TensorProto::EXTERNAL);
  auto* entry = tensor->add_external_data();
  entry->set_key("location");
  entry->set_value(data);
  const auto file = directory.Write(path, builder.proto.SerializeAsString());
  directory.Write((fs::path(path).parent_path() / data).string(), "\0\0\0\0");
  return Model::Load(file);
}

TEST(CopySidecars, TakesEverythingButModelsAndTheirData) {
  const TempDirectory source, destination;
  const Model model = WriteModel(source);
  for (const char* name :
       {"config.json", "tokenizer.json", "LICENSE", "chat_template.jinja", "1_Pooling/config.json",
        "other.onnx", "other.onnx_data", "other.onnx.data", ".cache/junk",
        "quantization_metadata.json", "quantized/model.onnx", "quantized/config.json"}) {
    source.Write(name, std::string("content of ") + name);
  }
  EXPECT_THAT(CopySidecars(model, destination.path()),
              ElementsAre("1_Pooling/config.json", "LICENSE", "chat_template.jinja", "config.json",
                          "tokenizer.json"));
  EXPECT_EQ(ReadTextFile(destination.path() / "1_Pooling/config.json"),
            "content of 1_Pooling/config.json");
  EXPECT_FALSE(fs::exists(destination.path() / "weights.bin"));
}

TEST(CopySidecars, LooksAboveAnOnnxFolder) {
  const TempDirectory source, destination;
  const Model model = WriteModel(source, "onnx/model.onnx");
  source.Write("tokenizer.json", "{}");
  source.Write("onnx/model_q4.onnx", "another");
  EXPECT_THAT(CopySidecars(model, destination.path()), ElementsAre("tokenizer.json"));
}

TEST(CopySidecars, TakesOnlyLicencesFromADirectoryThatDescribesNoModel) {
  const TempDirectory source, destination;
  const Model model = WriteModel(source);
  source.Write("holiday.jpg", "private");
  source.Write("LICENSE.txt", "licence");
  source.Write("README.md", "read me");
  source.Write("folder/secret.txt", "private");
  EXPECT_THAT(CopySidecars(model, destination.path()), ElementsAre("LICENSE.txt", "README.md"));
}

TEST(CopySidecars, LeavesLinksOutOfTheDirectoryAndFollowsThoseInside) {
  const TempDirectory source, outside, destination;
  const Model model = WriteModel(source);
  source.Write("config.json", "{}");
  fs::create_symlink(outside.Write("key", "secret"), source.path() / "special_tokens_map.json");
  fs::create_symlink(source.path() / "config.json", source.path() / "generation_config.json");
  fs::create_directory_symlink(outside.path(), source.path() / "folder");
  EXPECT_THAT(CopySidecars(model, destination.path()),
              ElementsAre("config.json", "generation_config.json"));
}

TEST(CopySidecars, FollowsTheLinksOfAHuggingFaceCache) {
  const TempDirectory cache, destination;
  const Model model = WriteModel(cache, "snapshots/abc/model.onnx");
  cache.Write("blobs/123", "{\"a\": 1}");
  fs::create_symlink("../../blobs/123", cache.path() / "snapshots/abc/config.json");
  EXPECT_THAT(CopySidecars(model, destination.path()), ElementsAre("config.json"));
  EXPECT_EQ(ReadTextFile(destination.path() / "config.json"), "{\"a\": 1}");
}

TEST(CopySidecars, NeverCopiesTheDestinationIntoItself) {
  const TempDirectory source;
  const Model model = WriteModel(source);
  source.Write("config.json", "{}");
  source.Write("out/note.txt", "already there");
  EXPECT_THAT(CopySidecars(model, source.path() / "out"), ElementsAre("config.json"));
}

TEST(CopySidecars, PointsTheGenAiConfigurationToTheNewModelFile) {
  const TempDirectory source, destination;
  const Model model = WriteModel(source, "decoder.onnx");
  source.Write("genai_config.json",
               R"({"model": {"decoder": {"filename": "decoder.onnx", "head_size": 8},
                             "embedding": {"filename": "embedding.onnx"}, "type": "llama"}})");
  (void)CopySidecars(model, destination.path());
  const auto text = ReadTextFile(destination.path() / "genai_config.json");
  EXPECT_THAT(text, ::testing::HasSubstr("\"filename\": \"model.onnx\""));
  EXPECT_THAT(text, ::testing::HasSubstr("\"filename\": \"embedding.onnx\""));
  EXPECT_THAT(text, ::testing::HasSubstr("\"type\": \"llama\""));
}

TEST(CopySidecars, CopiesABrokenGenAiConfigurationUnchanged) {
  const TempDirectory source, destination;
  const Model model = WriteModel(source, "decoder.onnx");
  source.Write("genai_config.json", "{ not json");
  EXPECT_THAT(CopySidecars(model, destination.path()), ElementsAre("genai_config.json"));
  EXPECT_EQ(ReadTextFile(destination.path() / "genai_config.json"), "{ not json");
}

}  // namespace
}  // namespace ptq
