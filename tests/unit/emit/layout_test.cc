// What written files are called, and what config.json says of them to transformers.js.
#include "ptq/emit/layout.h"

#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "ptq/base/file.h"

namespace ptq {
namespace {

using nlohmann::ordered_json;

OutputFiles ForTransformersJs(const char* source, int bits, bool half = false) {
  return FilesOf(Layout::kTransformersJs, source, bits, half);
}

TEST(FilesOf, NamesAFlatModelTheSameWhateverTheSource) {
  const OutputFiles files = FilesOf(Layout::kFlat, "somewhere/decoder_q4.onnx", 4, true);
  EXPECT_EQ(files.model, "model.onnx");
  EXPECT_EQ(files.data, "model.onnx.data");
  EXPECT_EQ(files.dtype, "");
}

TEST(FilesOf, KeepsTheFolderOfTheSource) {
  EXPECT_EQ(FilesOf(Layout::kKeep, "a/decoder.onnx", 4, false).model, "model.onnx");
  EXPECT_EQ(FilesOf(Layout::kKeep, "a/decoder.onnx", 4, false).data, "model.onnx.data");
  EXPECT_EQ(FilesOf(Layout::kKeep, "a/onnx/model.onnx", 4, false).model, "onnx/model.onnx");
  EXPECT_EQ(FilesOf(Layout::kKeep, "a/onnx/model.onnx", 4, false).data, "onnx/model.onnx_data");
  EXPECT_EQ(FilesOf(Layout::kFlat, "a/onnx/model.onnx", 4, false).model, "model.onnx");
}

TEST(FilesOf, FollowsTheNamesOfTransformersJs) {
  EXPECT_EQ(ForTransformersJs("a/model.onnx", 4).model, "onnx/model_q4.onnx");
  EXPECT_EQ(ForTransformersJs("a/model.onnx", 4).data, "onnx/model_q4.onnx_data");
  EXPECT_EQ(ForTransformersJs("a/model.onnx", 4).dtype, "q4");
  EXPECT_EQ(ForTransformersJs("model.onnx", 2, true).model, "onnx/model_q2f16.onnx");
  EXPECT_EQ(ForTransformersJs("model.onnx", 2, true).dtype, "q2f16");
  EXPECT_EQ(ForTransformersJs("model.onnx", 8, true).model, "onnx/model_quantized.onnx");
  EXPECT_EQ(ForTransformersJs("model.onnx", 8, true).dtype, "q8");
  const OutputFiles levels =
      FilesOf(Layout::kTransformersJs, "model_bnb4.onnx", 4, true, &Nf4Levels());
  EXPECT_EQ(levels.model, "onnx/model_bnb4.onnx");
  EXPECT_EQ(levels.dtype, "bnb4");
}

TEST(FilesOf, KeepsTheSourcesNameButNotItsType) {
  EXPECT_EQ(ForTransformersJs("decoder_model_merged.onnx", 4).model,
            "onnx/decoder_model_merged_q4.onnx");
  EXPECT_EQ(ForTransformersJs("model_fp16.onnx", 4, true).model, "onnx/model_q4f16.onnx");
  EXPECT_EQ(ForTransformersJs("model_quantized.onnx", 4).model, "onnx/model_q4.onnx");
  EXPECT_EQ(ForTransformersJs("_q4.onnx", 8).model, "onnx/_q4_quantized.onnx");
}

TEST(ChooseInTransformersJs, SaysThatACacheIsInFp16) {
  OutputFiles files = ForTransformersJs("model.onnx", 4, true);
  files.half_cache = true;
  const auto json = ordered_json::parse(ChooseInTransformersJs("{}", files, 0));
  EXPECT_EQ(json["transformers.js_config"]["kv_cache_dtype"],
            ordered_json::parse(R"({"q4f16": "float16"})"));
  files.half_cache = false;
  const auto other = ordered_json::parse(ChooseInTransformersJs("{}", files, 0));
  EXPECT_FALSE(other["transformers.js_config"].contains("kv_cache_dtype"));
}

TEST(ChooseInTransformersJs, AddsAnEntryAndKeepsTheOthers) {
  const std::string before = R"({"model_type": "llama", "a": 1.0, "transformers.js_config":
      {"kv_cache_dtype": {"q4f16": "float16"}, "dtype": "fp16", "use_external_data_format": true}})";
  const auto json =
      ordered_json::parse(ChooseInTransformersJs(before, ForTransformersJs("model.onnx", 4), 1));
  EXPECT_EQ(json["model_type"], "llama");
  const auto expected = ordered_json::parse(
      R"({"kv_cache_dtype": {"q4f16": "float16"}, "dtype": "q4",
          "use_external_data_format": {"model_q4.onnx": 1}})");
  EXPECT_EQ(json["transformers.js_config"], expected);
}

TEST(ChooseInTransformersJs, SaysThatThereIsNoDataFile) {
  const auto json =
      ordered_json::parse(ChooseInTransformersJs("{}", ForTransformersJs("model.onnx", 8), 0));
  EXPECT_EQ(json["transformers.js_config"]["use_external_data_format"]["model_quantized.onnx"], 0);
}

TEST(ChooseInTransformersJs, CountsTheDataFilesOfEachModel) {
  std::string text = R"({"transformers.js_config": {"use_external_data_format": 3}})";
  text = ChooseInTransformersJs(text, FilesIn("onnx", "encoder_model.onnx"), 0);
  text = ChooseInTransformersJs(text, FilesIn("onnx", "decoder_model_merged.onnx"), 12);
  EXPECT_EQ(ordered_json::parse(text)["transformers.js_config"]["use_external_data_format"],
            ordered_json::parse(R"({"encoder_model.onnx": 0, "decoder_model_merged.onnx": 12})"));
}

TEST(DataFilesIn, AreThoseThatFollowEachOther) {
  const testing::TempDirectory directory;
  const OutputFiles files = FilesIn("onnx", "model_q4.onnx");
  EXPECT_TRUE(DataFilesIn(directory.path(), files).empty());
  std::filesystem::create_directory(directory.path() / "onnx");
  for (const char* name : {"", "_1", "_2", "_4"}) {
    WriteFile(directory.path() / ("onnx/model_q4.onnx_data" + std::string(name)), "");
  }
  EXPECT_THAT(DataFilesIn(directory.path(), files),
              ::testing::ElementsAre("onnx/model_q4.onnx_data", "onnx/model_q4.onnx_data_1",
                                     "onnx/model_q4.onnx_data_2"));
}

TEST(ChooseInTransformersJs, LetsAnEntryFollowAModelThatKeepsItsName) {
  const OutputFiles files = FilesOf(Layout::kKeep, "onnx/model.onnx", 4, false);
  const std::string before = R"({"transformers.js_config": {"dtype": "q4",
      "use_external_data_format": {"model_q4.onnx": 1}}})";
  const auto json = ordered_json::parse(ChooseInTransformersJs(before, files, 1));
  EXPECT_EQ(json["transformers.js_config"]["dtype"], "fp32");
  EXPECT_EQ(json["transformers.js_config"]["use_external_data_format"]["model.onnx"], 1);
  EXPECT_EQ(ChooseInTransformersJs(R"({"a":  1})", files, 1), R"({"a":  1})");
}

TEST(ChooseInTransformersJs, LeavesOtherTextAlone) {
  for (const char* text : {"", "[1]", "{broken"}) {
    EXPECT_EQ(ChooseInTransformersJs(text, ForTransformersJs("model.onnx", 4), 1), text);
  }
}

}  // namespace
}  // namespace ptq
