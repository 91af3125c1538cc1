// How a result is named after its source and what was done to it.
#include "ptq/pipeline/default_destination.h"

#include "support/temp_directory.h"
#include <gtest/gtest.h>

namespace ptq {
namespace {

TEST(DefaultDestination, IsNamedAfterWhatIsDone) {
  Recipe recipe;
  recipe.source = "/models/toy/model.onnx";
  EXPECT_EQ(DefaultDestination(recipe), "/models/toy-awq_w4_g128_headfp16");
  recipe.source = "/models/toy.onnx";
  recipe.method = "rtn";
  recipe.bits = 8;
  recipe.group_size = 0;
  recipe.symmetric = false;
  recipe.head = Precision::kKeep;
  EXPECT_EQ(DefaultDestination(recipe), "/models/toy-rtn_w8_channel_asym");
  recipe.bits = 3;
  EXPECT_EQ(DefaultDestination(recipe), "/models/toy-rtn_w3_channel_asym");
}

TEST(DefaultDestination, IsNamedAfterWhatAFolderOnnxIsAPartOf) {
  const testing::TempDirectory directory;
  directory.Write("toy/onnx/model.onnx", "");
  directory.Write("toy/onnx/decoder.onnx", "");
  Recipe recipe;
  for (const char* source : {"toy", "toy/", "toy/onnx", "toy/onnx/", "toy/onnx/model.onnx"}) {
    recipe.source = directory.path() / source;
    EXPECT_EQ(DefaultDestination(recipe), directory.path() / "toy-awq_w4_g128_headfp16") << source;
  }
  recipe.source = directory.path() / "toy/onnx/decoder.onnx";
  EXPECT_EQ(DefaultDestination(recipe), directory.path() / "toy/decoder-awq_w4_g128_headfp16");
}

TEST(DefaultDestination, IsInTheWorkingDirectoryForACache) {
  const testing::TempDirectory directory;
  directory.Write("models--acme--tiny/blobs/1", "");
  const auto file = directory.Write("models--acme--tiny/snapshots/0/onnx/model.onnx", "");
  Recipe recipe;
  for (const auto& source : {file, file.parent_path(), file.parent_path().parent_path()}) {
    recipe.source = source;
    EXPECT_EQ(DefaultDestination(recipe), "tiny-awq_w4_g128_headfp16");
  }
  recipe.source = directory.Write("models--acme--tiny/snapshots/0/onnx/decoder.onnx", "");
  EXPECT_EQ(DefaultDestination(recipe), "tiny-decoder-awq_w4_g128_headfp16");
}

}  // namespace
}  // namespace ptq
