// Where links lead, also those of a Hugging Face cache.
#include "ptq/base/links.h"

#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ptq {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using testing::TempDirectory;

TEST(FindCachedRepository, KnowsTheRepositoryOfASnapshot) {
  const TempDirectory cache;
  const fs::path repository = fs::canonical(cache.path()) / "models--acme--tiny-ONNX";
  cache.Write("models--acme--tiny-ONNX/blobs/1", "model");
  const fs::path snapshot = repository / "snapshots/0123";
  fs::create_directories(snapshot / "onnx");
  fs::create_symlink("../../../blobs/1", snapshot / "onnx/model.onnx");
  for (const fs::path& path : {snapshot, snapshot / "onnx", snapshot / "onnx/model.onnx"}) {
    const auto found = FindCachedRepository(path);
    ASSERT_TRUE(found.has_value()) << path;
    EXPECT_EQ(found->id, "acme/tiny-ONNX");
    EXPECT_EQ(found->name(), "tiny-ONNX");
    EXPECT_EQ(found->snapshot, snapshot);
    EXPECT_EQ(found->blobs, repository / "blobs");
  }
  fs::create_directory_symlink(snapshot, cache.path() / "link");
  EXPECT_TRUE(FindCachedRepository(cache.path() / "link/onnx").has_value());
  EXPECT_FALSE(FindCachedRepository(repository / "blobs/1").has_value());
  EXPECT_FALSE(FindCachedRepository(cache.path()).has_value());
}

TEST(DirectoriesOf, FollowsAChainOfLinks) {
  const TempDirectory directory;
  const fs::path root = directory.path();
  directory.Write("c/real.onnx", "model");
  fs::create_directories(root / "b");
  fs::create_symlink("../c/real.onnx", root / "b/second.onnx");
  fs::create_symlink("b/second.onnx", root / "first.onnx");
  EXPECT_THAT(DirectoriesOf(root / "first.onnx"), ElementsAre(root, root / "b", root / "c"));
  EXPECT_THAT(DirectoriesOf(root / "c/real.onnx"), ElementsAre(root / "c"));
  EXPECT_THAT(DirectoriesOf(root / "none.onnx"), ElementsAre(root));
  fs::create_symlink("loop", root / "loop");
  EXPECT_THAT(DirectoriesOf(root / "loop"), ElementsAre(root));
}

}  // namespace
}  // namespace ptq
