// The models of a directory one by one, and put together.
#include "ptq/pipeline/directory.h"

#include <filesystem>
#include <string>

#include "directory/assemble.h"
#include "directory/directory_models.h"
#include "support/model_builder.h"
#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/emit/metadata.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// Two models that hold linears, which nothing but token ids is needed for, and one that holds
/// none.
class DirectoryTest : public ::testing::Test {
 protected:
  DirectoryTest() {
    directory_.Write("source/onnx/text_model.onnx", testing::ToyDecoder(1).Bytes());
    directory_.Write("source/onnx/decoder_model.onnx", testing::ToyDecoder(1).Bytes());
    testing::GraphBuilder table;
    table.Input("input_ids", {-1, -1}, DType::kInt64).Output("inputs_embeds", {-1, -1, 32});
    table.Random("table", {testing::kToyVocabulary, 32});
    table.Op("Gather", {"table", "input_ids"}, "inputs_embeds");
    directory_.Write("source/onnx/embed_tokens.onnx", table.Bytes());
    directory_.Write("source/config.json", R"({"model_type": "clip"})");
    recipe_.source = directory_.path() / "source";
    recipe_.destination = directory_.path() / "result";
    recipe_.method = "rtn";
    recipe_.group_size = 16;
    fs::create_directories(Staged() / "common");
  }
  [[nodiscard]] fs::path Staged() const { return directory_.path() / "staged"; }
  [[nodiscard]] static size_t IndexOf(const DirectoryModels& models, const std::string& name) {
    for (size_t i = 0; i < models.size(); ++i) {
      if (models.NameOf(i) == fs::path("onnx") / name) return i;
    }
    throw std::runtime_error("no model " + name);
  }

  testing::TempDirectory directory_;
  Recipe recipe_;
};

TEST_F(DirectoryTest, PlansEveryModelUnderItsNameBelowTheRoot) {
  DirectoryModels models(recipe_, Staged() / "common");
  ASSERT_EQ(models.size(), 3u);
  EXPECT_EQ(models.root(), recipe_.source);
  const size_t text = IndexOf(models, "text_model.onnx");
  EXPECT_EQ(models.Rehearse(text, recipe_.destination).plan.linears.size(), 8u);
  EXPECT_GT(models.Need().result, 0);
  const nlohmann::ordered_json identity = models.Identity();
  EXPECT_EQ(identity.at("recipe").at("method"), "rtn");
  EXPECT_EQ(identity.at("sources").size(), 3u);
}

TEST_F(DirectoryTest, RefusesAPatternThatMatchesInNoModel) {
  recipe_.exclude = {"lm_head"};
  EXPECT_NO_THROW(DirectoryModels(recipe_, Staged() / "common"));
  recipe_.exclude = {"lm_head", "nowhere*"};
  try {
    const DirectoryModels models(recipe_, Staged() / "common");
    FAIL() << "took it";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("--exclude 'nowhere*' matches no linear of any model"));
  }
}

TEST_F(DirectoryTest, SaysWhichModelsCannotBeCalibrated) {
  recipe_.method = "awq";
  recipe_.calibration.files = {directory_.Write("texts.txt", "a text for a tokenizer\n")};
  DirectoryModels models(recipe_, Staged() / "common");
  EXPECT_TRUE(models.obstacle(0).empty());
  models.FindObstacles();
  EXPECT_FALSE(models.obstacle(IndexOf(models, "text_model.onnx")).empty());
  EXPECT_TRUE(models.obstacle(IndexOf(models, "embed_tokens.onnx")).empty()) << "it needs none";
}

TEST_F(DirectoryTest, CopiesAModelWithoutLinears) {
  DirectoryModels models(recipe_, Staged() / "common");
  const size_t table = IndexOf(models, "embed_tokens.onnx");
  const fs::path part = PartOf(Staged(), table);
  (void)models.Quantize(table, part, {});
  EXPECT_EQ(ReadTextFile(part / "onnx" / "embed_tokens.onnx"),
            ReadTextFile(recipe_.source / "onnx" / "embed_tokens.onnx"));
  const auto metadata = nlohmann::json::parse(ReadTextFile(part / kMetadataFileName));
  EXPECT_THAT(metadata.at("notes").at(0).get<std::string>(), HasSubstr("; copied"));
  EXPECT_EQ(models.FilesFor(table, /*copied=*/true).model, "onnx/embed_tokens.onnx");
}

TEST_F(DirectoryTest, AssemblesFinishedModels) {
  DirectoryModels models(recipe_, Staged() / "common");
  for (size_t i = 0; i < models.size(); ++i) (void)models.Quantize(i, PartOf(Staged(), i), {});
  DirectoryReport report;
  Assemble(models, recipe_, Staged(), report);
  for (const char* name : {"onnx/text_model.onnx", "onnx/text_model.onnx_data",
                           "onnx/decoder_model.onnx", "onnx/embed_tokens.onnx", "config.json"}) {
    EXPECT_TRUE(fs::exists(Staged() / name)) << name;
  }
  const nlohmann::ordered_json metadata =
      nlohmann::ordered_json::parse(ReadTextFile(Staged() / kMetadataFileName));
  EXPECT_EQ(metadata, report.metadata);
  ASSERT_EQ(metadata.at("models").size(), 3u);
  for (const auto& part : metadata.at("models")) {
    const bool copied = part.at("file") == "onnx/embed_tokens.onnx";
    EXPECT_EQ(part.contains("totals"), !copied) << part.at("file");
    EXPECT_FALSE(part.contains("recipe")) << "that is said once";
  }
  EXPECT_THAT(metadata.at("sidecars"), ElementsAre("config.json"));
  EXPECT_EQ(report.bytes.size(), 3u);
  EXPECT_LT(report.bytes_after, report.bytes_before);
}

}  // namespace
}  // namespace ptq
