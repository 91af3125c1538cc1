// Files are known by their first bytes.
#include "ptq/base/file_kind.h"

#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/base/file.h"

namespace ptq {
namespace {

using std::string_literals::operator""s;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::TempDirectory;

constexpr const char* kPointer =
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\nsize 524288\n";

TEST(FileKind, KnowsPackedFiles) {
  EXPECT_EQ(KindOf("\x1F\x8B\x08\x00"s), FileKind::kGzip);
  EXPECT_EQ(KindOf("\x28\xB5\x2F\xFD\x04"s), FileKind::kZstd);
  EXPECT_EQ(KindOf("\xFD\x37zXZ\x00\x00"s), FileKind::kXz);
  EXPECT_EQ(KindOf("PK\x03\x04"s + std::string(26, 'x') + "notes.txt"), FileKind::kZip);
  EXPECT_EQ(KindOf(std::string(257, '\0') + "ustar\0"s), FileKind::kTar);
}

TEST(FileKind, KnowsZipArchivesByWhatTheyHold) {
  const std::string start = "PK\x03\x04"s + std::string(26, '\0');
  EXPECT_EQ(KindOf(start + "in.pixel_values.npy"), FileKind::kNpz);
  EXPECT_EQ(KindOf(start + "archive/data.pkl"), FileKind::kTorchZip);
}

TEST(FileKind, KnowsModelsOfOtherFrameworks) {
  EXPECT_EQ(KindOf("GGUF\x03\x00\x00\x00\x10"s), FileKind::kGguf);
  EXPECT_EQ(KindOf("\x28\x00\x00\x00\x00\x00\x00\x00{\"a\":{}}"s), FileKind::kSafetensors);
  EXPECT_EQ(KindOf("\x80\x02}q\x00."s), FileKind::kPickle);
  EXPECT_EQ(KindOf("\x89HDF\r\n\x1A\n\x00"s), FileKind::kHdf5);
  EXPECT_EQ(KindOf("\x1C\x00\x00\x00TFL3\x14\x00"s), FileKind::kTfLite);
  EXPECT_EQ(KindOf("\x1C\x00\x00\x00ORTM\x14\x00"s), FileKind::kOrt);
}

TEST(FileKind, TextThatBeginsLikeASignatureIsText) {
  EXPECT_EQ(KindOf("GGUF is a file format of llama.cpp."), FileKind::kUnknown);
  EXPECT_EQ(KindOf("PARENTS of small children know this."), FileKind::kUnknown);
  EXPECT_EQ(KindOf("PAR1 was built in 1903."), FileKind::kUnknown);
  EXPECT_EQ(KindOf("The TFL3 line was opened in May."), FileKind::kUnknown);
  EXPECT_EQ(KindOf("{\"text\": \"\xC3\xA9\"}"), FileKind::kUnknown);
  EXPECT_EQ(KindOf("\x08\x08\x12\x07pytorch"), FileKind::kUnknown);  // an ONNX model
}

TEST(FileKind, KnowsPagesAndWideText) {
  EXPECT_EQ(KindOf("\n <!DOCTYPE html><html>"), FileKind::kHtml);
  EXPECT_EQ(KindOf("<HTML lang=en>"), FileKind::kHtml);
  EXPECT_EQ(KindOf("\xFF\xFEh\x00i\x00"s), FileKind::kUtf16Little);
  EXPECT_EQ(KindOf("\xFE\xFF\x00h\x00i"s), FileKind::kUtf16Big);
  EXPECT_EQ(KindOf("\xFF\xFE\x00\x00h\x00\x00\x00"s), FileKind::kUtf32Little);
  EXPECT_EQ(KindOf(std::string_view()), FileKind::kEmpty);
}

TEST(FileKind, ReadsTheBeginningOfAFileOnly) {
  const TempDirectory directory;
  EXPECT_EQ(KindOfFile(directory.Write("a", "GGUF\x03\x00\x00\x00"s + std::string(1 << 20, 'x'))),
            FileKind::kGguf);
  EXPECT_EQ(KindOfFile(directory.path()), FileKind::kUnknown);
  EXPECT_EQ(KindOfFile(directory.path() / "absent"), FileKind::kUnknown);
}

TEST(FileKind, NobodyMapsAGitLfsPointer) {
  const TempDirectory directory;
  const auto path = directory.Write("model.onnx", kPointer);
  EXPECT_EQ(KindOfFile(path), FileKind::kGitLfsPointer);
  try {
    (void)ReadTextFile(path);
    FAIL();
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("model.onnx"), HasSubstr("Git LFS pointer"),
                                    HasSubstr("524288 bytes"), HasSubstr("git lfs pull")));
  }
}

TEST(ShellWord, QuotesWhatAShellWouldTakeApart) {
  EXPECT_EQ(ShellWord("dir/model-1.onnx"), "dir/model-1.onnx");
  EXPECT_EQ(ShellWord("my model"), "'my model'");
  EXPECT_EQ(ShellWord("it's"), "'it'\\''s'");
}

}  // namespace
}  // namespace ptq
