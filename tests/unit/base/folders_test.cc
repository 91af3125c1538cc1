// Folders are made, listed in order, and what fails is an error of reading or of writing.
#include "ptq/base/folders.h"

#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(FoldersTest, EntriesAreSortedAndNothingIsThereWithoutAFolder) {
  const testing::TempDirectory directory;
  directory.Write("b", "");
  directory.Write("a/c", "");
  EXPECT_THAT(EntriesOf(directory.path()),
              ElementsAre(directory.path() / "a", directory.path() / "b"));
  EXPECT_THAT(EntriesOf(directory.path() / "none"), IsEmpty());
  EXPECT_THAT(EntriesOf(directory.path() / "b"), IsEmpty());
  EXPECT_THAT(FilesBelow(directory.path()), ElementsAre("a/c", "b"));
}

TEST(FoldersTest, WhatCannotBeListedIsAnErrorOfReading) {
  const testing::TempDirectory directory;
  const std::string too_long(300, 'x');
  EXPECT_THROW((void)EntriesOf(directory.path() / too_long), InputError);
}

TEST(FoldersTest, WhatCannotBeWrittenIsAnErrorOfWriting) {
  const testing::TempDirectory directory;
  directory.Write("file", "");
  const fs::path below = directory.path() / "file" / "folder";
  EXPECT_THROW(MakeFolders(below), OutputError);
  EXPECT_THROW(MoveFile(directory.path() / "none", directory.path() / "other"), OutputError);
  EXPECT_THROW((void)FilesBelow(directory.path() / "none"), OutputError);
  EXPECT_NO_THROW(RemoveAll(directory.path() / "none"));
  MakeFolders(directory.path() / "x" / "y");
  MoveFile(directory.path() / "file", directory.path() / "x" / "y" / "file");
  RemoveAll(directory.path() / "x");
  EXPECT_THAT(EntriesOf(directory.path()), IsEmpty());
}

}  // namespace
}  // namespace ptq
