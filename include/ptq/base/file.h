// Mapped reads, appended writes, and files that are complete or absent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace ptq {

/// A whole file mapped read-only. Shared by every tensor that points into it; unmapped with the
/// last of them. Throws InputError when the file is missing or unreadable, or a Git LFS pointer.
class MappedFile {
 public:
  [[nodiscard]] static std::shared_ptr<const MappedFile> Open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  [[nodiscard]] std::span<const std::byte> bytes() const { return {data_, size_}; }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  /// Tells the kernel that the resident pages of `part` may go; they are read again if touched.
  void Drop(std::span<const std::byte> part) const;
  /// Has the kernel read `part` from the disk meanwhile; it does not become resident by that.
  void Prefetch(std::span<const std::byte> part) const;

 private:
  MappedFile(std::filesystem::path path, const std::byte* data, size_t size)
      : path_(std::move(path)), data_(data), size_(size) {}
  std::filesystem::path path_;
  const std::byte* data_;
  size_t size_;
};

/// The bytes of a whole file, or of standard input for "-". Throws InputError.
[[nodiscard]] std::string ReadTextFile(const std::filesystem::path& path);

/// The first bytes of a file, at most so many; empty when it cannot be read.
[[nodiscard]] std::string ReadFront(const std::filesystem::path& path, size_t most);

class WriteBehind;

/// A file written from front to back; every failure (full disk included) is an OutputError, of the
/// call that causes it or of a later one: large files are written by a thread of their own.
class FileWriter {
 public:
  explicit FileWriter(const std::filesystem::path& path);
  /// Goes on writing a file at `position`; what lies behind it is dropped. Throws OutputError when
  /// the file is shorter.
  FileWriter(const std::filesystem::path& path, int64_t position);
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  void Write(std::span<const std::byte> bytes);
  void Write(std::string_view text);
  /// Writes zeros until the position is a multiple of `alignment`; returns the position.
  int64_t Align(int64_t alignment);
  [[nodiscard]] int64_t position() const { return position_; }
  /// Makes everything written so far durable.
  void Sync();
  /// Hands everything written so far to the system: other readers see it.
  void Flush();
  /// Flushes and closes; durable is what it was at the last Sync, or what a
  /// StagedDirectory::Commit makes durable. A writer destroyed without Finish or Close leaves what
  /// it wrote.
  void Finish();
  /// Sync and Finish.
  void Close();

 private:
  std::filesystem::path path_;
  int fd_ = -1;
  int64_t position_ = 0;
  std::string buffer_;
  std::unique_ptr<WriteBehind> behind_;  ///< from the first full buffer on
};

/// Makes a file that somebody else wrote durable. Throws OutputError.
void SyncFile(const std::filesystem::path& path);

/// Makes renames within a directory (empty: the working directory) durable. A file system that
/// cannot is no reason to fail.
void SyncDirectory(const std::filesystem::path& directory);

/// Writes a whole file, which the system brings to the disk some time. Throws OutputError.
void WriteFile(const std::filesystem::path& path, std::string_view text);

/// A file that is complete or absent: it is written as "<name>.part", which is removed with this
/// object unless Commit was called.
class AtomicFile {
 public:
  /// Throws OutputError.
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  [[nodiscard]] FileWriter& writer() { return *writer_; }
  /// Makes the file durable and gives it its name. Call once. Throws OutputError.
  void Commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  std::optional<FileWriter> writer_;
  bool committed_ = false;
};

/// The same for a text. Throws OutputError.
void WriteFileAtomically(const std::filesystem::path& path, std::string_view text);

}  // namespace ptq
