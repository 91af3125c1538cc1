// What becomes of files when disks are full, names are links, and processes are killed.
#include "ptq/base/file.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <string>
#include <thread>

#include "support/temp_directory.h"
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ptq/base/destination.h"
#include "ptq/base/error.h"

namespace ptq {
namespace {

using testing::TempDirectory;

int64_t FilesIn(const std::filesystem::path& path) {
  return std::distance(std::filesystem::directory_iterator(path), {});
}

TEST(MappedFile, ShowsTheBytesAlsoAfterTheirPagesWereDropped) {
  const TempDirectory directory;
  const std::string text(20000, 'q');
  const auto file = MappedFile::Open(directory.Write("a", text));
  file->Drop(file->bytes());
  const auto bytes = file->bytes();
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), text);
}

TEST(MappedFile, MapsAnEmptyFile) {
  const TempDirectory directory;
  EXPECT_TRUE(MappedFile::Open(directory.Write("empty", ""))->bytes().empty());
}

TEST(MappedFile, RefusesMissingFilesAndDirectories) {
  const TempDirectory directory;
  EXPECT_THROW((void)MappedFile::Open(directory.path() / "missing"), InputError);
  EXPECT_THROW((void)MappedFile::Open(directory.path()), InputError);
}

TEST(ReadFront, GivesTheFirstBytesOrAllThereAre) {
  const testing::TempDirectory directory;
  const auto file = directory.Write("file", "abcdef");
  EXPECT_EQ(ReadFront(file, 3), "abc");
  EXPECT_EQ(ReadFront(file, 100), "abcdef");
  EXPECT_EQ(ReadFront(directory.path() / "absent", 100), "");
  EXPECT_EQ(ReadFront(directory.path(), 100), "");
}

TEST(FileWriter, WritesSmallAndLargePartsInOrder) {
  const TempDirectory directory;
  const auto path = directory.path() / "out";
  const std::string large(3 << 20, 'x');
  FileWriter writer(path);
  writer.Write("ab");
  EXPECT_EQ(writer.Align(64), 64);
  EXPECT_EQ(writer.Align(64), 64);
  writer.Write(large);
  writer.Write("end");
  EXPECT_EQ(writer.position(), 64 + static_cast<int64_t>(large.size()) + 3);
  writer.Close();
  EXPECT_EQ(ReadTextFile(path), "ab" + std::string(62, '\0') + large + "end");
}

TEST(FileWriter, ReportsAFullDisk) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full";
  FileWriter small("/dev/full");
  small.Write("buffered until the end");
  EXPECT_THROW(small.Close(), OutputError);
  FileWriter large("/dev/full");
  EXPECT_THROW(
      {
        large.Write(std::string(3 << 20, 'x'));
        large.Flush();
      },
      OutputError);
  FileWriter endless("/dev/full");
  EXPECT_THROW(for (int i = 0; i < 1000; ++i) endless.Write(std::string(1 << 20, 'x')), OutputError)
      << "what is written behind must not pile up";
}

/// A pipe stands for a disk that is slower than whoever writes.
TEST(FileWriter, HoldsLittleOfWhatASlowDiskHasNotTaken) {
  constexpr int64_t kAll = 64 << 20, kPart = 1 << 20, kMostHeld = 6 << 20;
  const TempDirectory directory;
  const auto path = directory.path() / "pipe";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  const int disk = ::open(path.c_str(), O_RDONLY | O_NONBLOCK);
  ASSERT_GE(disk, 0);
  ASSERT_EQ(::fcntl(disk, F_SETFL, 0), 0);
  std::atomic<int64_t> written = 0;
  std::thread writing([&] {
    FileWriter writer(path);
    const std::string part(kPart, 'x');
    for (; written < kAll; written += kPart) writer.Write(part);
    writer.Finish();
  });
  while (written < kPart) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // so that it may run too far ahead
  std::string buffer(kPart, '\0');
  int64_t taken = 0, most_held = 0;
  while (const ssize_t size = ::read(disk, buffer.data(), buffer.size())) {
    ASSERT_GT(size, 0);
    most_held = std::max(most_held, written.load() - taken);
    taken += size;
  }
  writing.join();
  ::close(disk);
  EXPECT_EQ(taken, kAll);
  EXPECT_LE(most_held, kMostHeld);
}

TEST(FileWriter, ReportsADirectoryThatDoesNotExist) {
  const TempDirectory directory;
  EXPECT_THROW(FileWriter(directory.path() / "no" / "file"), OutputError);
}

TEST(WriteFileAtomically, ReplacesTheFileAndLeavesNoOther) {
  const TempDirectory directory;
  const auto path = directory.Write("a.json", "old");
  WriteFileAtomically(path, "new");
  EXPECT_EQ(ReadTextFile(path), "new");
  EXPECT_EQ(FilesIn(directory.path()), 1);
}

TEST(WriteFileAtomically, LeavesNothingWhenTheTargetIsADirectory) {
  const TempDirectory directory;
  std::filesystem::create_directories(directory.path() / "target" / "full");
  EXPECT_THROW(WriteFileAtomically(directory.path() / "target", "text"), OutputError);
  EXPECT_EQ(FilesIn(directory.path()), 1);
}

TEST(AtomicFile, IsNotMadeOfWhatOthersMade) {
  const TempDirectory directory;
  const auto path = directory.path() / "out";
  const auto part = directory.path() / "out.part";
  const auto victim = directory.Write("victim", "precious");
  std::filesystem::create_symlink("victim", part);
  EXPECT_THROW(AtomicFile{path}, OutputError);
  std::filesystem::remove(part);
  std::filesystem::create_hard_link(victim, part);
  RemoveLeftover(path, "precious");
  EXPECT_THROW(AtomicFile{path}, OutputError);
  std::filesystem::remove(part);
  directory.Write("out.part", "precious");
  RemoveLeftover(path, "mark");
  EXPECT_THROW(AtomicFile{path}, OutputError);
  EXPECT_EQ(ReadTextFile(part), "precious");
  EXPECT_EQ(ReadTextFile(victim), "precious");
}

TEST(AtomicFile, ReplacesWhatAKilledProcessLeft) {
  const TempDirectory directory;
  for (const char* left : {"", "8 bytes and a mark, truncated"}) {
    directory.Write("out.part", left);
    RemoveLeftover(directory.path() / "out", "mark");
    AtomicFile file(directory.path() / "out");
    RemoveLeftover(directory.path() / "out", "mark");
    EXPECT_THROW(AtomicFile{directory.path() / "out"}, OutputError) << "it is at work";
    file.Commit();
    EXPECT_EQ(FilesIn(directory.path()), 1);
  }
}

TEST(FileWriter, FollowsNoLink) {
  const TempDirectory directory;
  const auto victim = directory.Write("victim", "precious");
  std::filesystem::create_symlink("victim", directory.path() / "link");
  EXPECT_THROW(FileWriter(directory.path() / "link"), OutputError);
  EXPECT_THROW(FileWriter(directory.path() / "link", 0), OutputError);
  EXPECT_EQ(ReadTextFile(victim), "precious");
}

TEST(FileWriter, GoesOnAtAPosition) {
  const TempDirectory directory;
  const auto path = directory.Write("file", "0123456789");
  {
    FileWriter writer(path, 4);
    EXPECT_EQ(writer.position(), 4);
    writer.Write("abc");
    writer.Sync();
    EXPECT_EQ(ReadTextFile(path), "0123abc");
    writer.Align(8);
    writer.Close();
  }
  EXPECT_EQ(ReadTextFile(path), std::string("0123abc\0", 8));
  EXPECT_THROW(FileWriter(path, 9), OutputError);
}

}  // namespace
}  // namespace ptq
