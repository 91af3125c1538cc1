// Which files are known to be those of an earlier run.
#include "ptq/emit/written_files.h"

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "ptq/emit/metadata.h"

namespace ptq {
namespace {

using ptq::testing::TempDirectory;
using ::testing::ElementsAre;
using ::testing::IsSupersetOf;

std::vector<std::string> Names(const TempDirectory& directory) {
  std::vector<std::string> names;
  const auto files = WrittenFiles(directory.path());
  if (!files.has_value()) return {"not a result"};
  names.reserve(files->size());
  for (const WrittenFile& file : *files) names.push_back(file.name.generic_string());
  return names;
}

TEST(WrittenFiles, AreThoseThatTheMetadataLists) {
  const TempDirectory directory;
  directory.Write("model.onnx", "model");
  directory.Write("onnx/data", "12");
  const std::vector<std::filesystem::path> names = {"model.onnx", "onnx/data", "absent"};
  Metadata metadata;
  metadata.files = DescribeFiles(directory.path(), names);
  WriteMetadata(metadata, directory.path());
  EXPECT_THAT(Names(directory), ElementsAre("model.onnx", "onnx/data", kMetadataFileName));
  const WrittenFile found = WrittenFiles(directory.path())->at(1);
  EXPECT_EQ(found.bytes, 2);
  EXPECT_EQ(found.sha256, Sha256Hex("12"));
}

TEST(WrittenFiles, AreKnownFromResultsWithoutAList) {
  const TempDirectory directory;
  directory.Write(kMetadataFileName, R"({"schema_version": "1.1", "tool": {"name": "quantize"},
      "sidecars": ["config.json"], "models": [{"file": "onnx/encoder_model.onnx"}]})");
  EXPECT_THAT(Names(directory),
              IsSupersetOf({kMetadataFileName, "model.onnx", "model.onnx.data", "config.json",
                            "onnx/encoder_model.onnx", "onnx/encoder_model.onnx_data"}));
}

TEST(WrittenFiles, AreNoneWithoutMetadataOfARun) {
  const TempDirectory directory;
  EXPECT_THAT(Names(directory), ElementsAre("not a result"));
  for (const char* text : {"", "{", "[]", "3", R"({"schema_version": "1.1"})",
                           R"({"schema_version": "1.1", "tool": "quantize"})",
                           R"({"schema_version": "1.1", "tool": {"name": "another"}})"}) {
    directory.Write(kMetadataFileName, text);
    EXPECT_THAT(Names(directory), ElementsAre("not a result")) << text;
  }
  directory.Write("elsewhere", R"({"schema_version": "1.1", "tool": {"name": "quantize"}})");
  std::filesystem::remove(directory.path() / kMetadataFileName);
  std::filesystem::create_symlink("elsewhere", directory.path() / kMetadataFileName);
  EXPECT_THAT(Names(directory), ElementsAre("not a result"));
}

TEST(WrittenFiles, LieInTheDirectoryWhateverTheListSays) {
  const TempDirectory directory;
  directory.Write(kMetadataFileName, R"({"schema_version": "1.2", "tool": {"name": "quantize"},
      "files": [{"file": "../thesis"}, {"file": "/etc/passwd"}, {"file": 3}, 4, {"bytes": 1},
                {"file": "a", "bytes": "x"}, {"file": "b\u0000c"}, {"file": "."}]})");
  EXPECT_THAT(Names(directory), ElementsAre("a", kMetadataFileName));
}

}  // namespace
}  // namespace ptq
