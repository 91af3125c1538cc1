// Which files beside a model are copied, which are adapted, and which are left out.
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
using ::testing::IsSupersetOf;
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

std::vector<std::string> Copied(const Model& model, const fs::path& destination) {
  return CopySidecars(model, destination).copied;
}

std::vector<std::string> NamesLeftOut(const Sidecars& sidecars) {
  std::vector<std::string> names;
  for (const LeftOut& left : sidecars.left_out) names.push_back(left.file);
  return names;
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
  EXPECT_THAT(Copied(model, destination.path()),
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
  EXPECT_THAT(Copied(model, destination.path()), ElementsAre("tokenizer.json"));
}

TEST(CopySidecars, TakesOnlyLicencesFromADirectoryThatDescribesNoModel) {
  const TempDirectory source, destination;
  const Model model = WriteModel(source);
  source.Write("holiday.jpg", "private");
  source.Write("thesis.docx", "private");
  source.Write("LICENSE.txt", "licence");
  source.Write("README.md", "read me");
  source.Write("folder/secret.txt", "private");
  EXPECT_THAT(Copied(model, destination.path()), ElementsAre("LICENSE.txt", "README.md"));
}

TEST(CopySidecars, LeavesLinksOutOfTheDirectoryAndFollowsThoseInside) {
  const TempDirectory source, outside, destination;
  const Model model = WriteModel(source);
  source.Write("config.json", "{}");
  fs::create_symlink(outside.Write("key", "secret"), source.path() / "special_tokens_map.json");
  fs::create_symlink(source.path() / "config.json", source.path() / "generation_config.json");
  fs::create_directory_symlink(outside.path(), source.path() / "folder");
  EXPECT_THAT(Copied(model, destination.path()),
              ElementsAre("config.json", "generation_config.json"));
  EXPECT_THAT(NamesLeftOut(CopySidecars(model, destination.path())),
              ElementsAre("special_tokens_map.json"));
}

TEST(CopySidecars, FollowsTheLinksOfAHuggingFaceCache) {
  const TempDirectory cache, destination;
  const Model model = WriteModel(cache, "snapshots/abc/model.onnx");
  cache.Write("blobs/123", "{\"a\": 1}");
  fs::create_symlink("../../blobs/123", cache.path() / "snapshots/abc/config.json");
  EXPECT_THAT(Copied(model, destination.path()), ElementsAre("config.json"));
  EXPECT_EQ(ReadTextFile(destination.path() / "config.json"), "{\"a\": 1}");
}

TEST(CopySidecars, TakesWhatARuntimeReadsWithoutAConfiguration) {
  const TempDirectory source, destination;
  const Model model = WriteModel(source);
  for (const char* name : {"feature_stats.yaml", "labels.txt", "rules.fst", "holiday.jpg"}) {
    source.Write(name, "content");
  }
  EXPECT_THAT(Copied(model, destination.path()),
              ElementsAre("feature_stats.yaml", "labels.txt", "rules.fst"));
}

TEST(CopySidecars, TakesTheFoldersOfADirectoryWithATableOfTokens) {
  const TempDirectory source, destination;
  const Model model = WriteModel(source);
  source.Write("tokens.txt", "a 0");
  source.Write("espeak-ng-data/phontab", "phonemes");
  EXPECT_THAT(Copied(model, destination.path()),
              ElementsAre("espeak-ng-data/phontab", "tokens.txt"));
}

TEST(CopySidecars, LeavesTheWeightsOfOtherFrameworksOut) {
  const TempDirectory source, destination;
  const Model model = WriteModel(source, "onnx/model.onnx");
  source.Write("config.json", "{}");
  source.Write("1_Pooling/config.json", "{}");
  for (const char* name :
       {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "tf_model.h5",
        "flax_model.msgpack", "rust_model.ot", "model.gguf", "openvino/openvino_model.bin",
        "openvino/openvino_model.xml", "coreml/a.mlpackage/Data/weights/weight.bin",
        "onnx/model_q4.onnx", "onnx/model_q4.onnx_data"}) {
    source.Write(name, "weights");
  }
  const Sidecars found = CopySidecars(model, destination.path());
  EXPECT_THAT(found.copied, ElementsAre("1_Pooling/config.json", "config.json"));
  EXPECT_THAT(
      NamesLeftOut(found),
      ElementsAre("coreml/a.mlpackage/", "flax_model.msgpack", "model.gguf", "model.safetensors",
                  "model.safetensors.index.json", "onnx/model_q4.onnx", "onnx/model_q4.onnx_data",
                  "openvino/openvino_model.bin", "openvino/openvino_model.xml", "pytorch_model.bin",
                  "rust_model.ot", "tf_model.h5"));
}

TEST(CopySidecars, TakesTheLayersThatAPipelineComputesBehindTheModel) {
  const TempDirectory source, destination;
  const Model model = WriteModel(source);
  source.Write("modules.json", R"([{"path": "", "type": "a.Transformer"},
      {"path": "1_Pooling", "type": "a.Pooling"}, {"path": "2_Dense", "type": "a.Dense"}])");
  for (const char* name :
       {"1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors",
        "2_Dense/pytorch_model.bin", "3_Dense/model.safetensors", "model.safetensors"}) {
    source.Write(name, "content");
  }
  EXPECT_THAT(Copied(model, destination.path()),
              ElementsAre("1_Pooling/config.json", "2_Dense/config.json",
                          "2_Dense/model.safetensors", "modules.json"));
}

TEST(CopySidecars, TakesTheFilesBesideTheModelInItsFolder) {
  const TempDirectory source, destination;
  const Model model = WriteModel(source, "onnx/model.onnx");
  source.Write("onnx/tokens.txt", "a 0");
  source.Write("private.txt", "of the folder above, which describes no model");
  EXPECT_THAT(Copied(model, destination.path()), ElementsAre("onnx/tokens.txt"));
}

TEST(CopySidecars, SaysInTheModelCardThatTheModelIsQuantized) {
  const TempDirectory source, destination;
  const Model model = WriteModel(source);
  source.Write("config.json", R"({"_name_or_path": "acme/tiny"})");
  source.Write("README.md", "---\nlicense: mit\n---\n# Tiny\n");
  EXPECT_THAT(Copied(model, destination.path()), IsSupersetOf({"README.md"}));
  const std::string card = ReadTextFile(destination.path() / "README.md");
  EXPECT_THAT(card, ::testing::StartsWith("---\nlicense: mit\nbase_model: acme/tiny\n"
                                          "base_model_relation: quantized\n---\n"));
  EXPECT_THAT(card, ::testing::EndsWith("\n\n# Tiny\n"));
}

TEST(CopySidecars, NeverCopiesTheDestinationIntoItself) {
  const TempDirectory source;
  const Model model = WriteModel(source);
  source.Write("config.json", "{}");
  source.Write("out/note.txt", "already there");
  EXPECT_THAT(Copied(model, source.path() / "out"), ElementsAre("config.json"));
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
  EXPECT_THAT(Copied(model, destination.path()), ElementsAre("genai_config.json"));
  EXPECT_EQ(ReadTextFile(destination.path() / "genai_config.json"), "{ not json");
}

}  // namespace
}  // namespace ptq
