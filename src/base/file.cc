// Maps, writes, syncs and renames files by system calls, and words what goes wrong.
#include "ptq/base/file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <vector>

#include "system.h"
#include "write_behind.h"
#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ptq/base/destination.h"
#include "ptq/base/disk.h"
#include "ptq/base/error.h"
#include "ptq/base/file_kind.h"
#include "ptq/base/interrupt.h"

namespace ptq {
namespace {

constexpr size_t kWriteBuffer = 1 << 20;
constexpr size_t kMarkedBytes = 4096;
constexpr size_t kReadChunk = 16 << 20;

/// Writes everything or throws; partial writes (signals, pipes) are continued.
void WriteAll(int fd, const char* data, size_t size, const std::filesystem::path& path) {
  while (size > 0) {
    const ssize_t written = ::write(fd, data, size);
    if (written < 0) {
      if (errno == EINTR) continue;
      ThrowWriteError(path, errno);
    }
    data += written;
    size -= static_cast<size_t>(written);
  }
}

/// Whoever types or pipes may take his time: Ctrl-C is noticed meanwhile.
std::string ReadStandardInput() {
  constexpr int kWaitMilliseconds = 100;
  std::string text;
  std::vector<char> buffer(kWriteBuffer);
  while (true) {
    CheckInterrupt();
    pollfd ready = {STDIN_FILENO, POLLIN, 0};
    if (::poll(&ready, 1, kWaitMilliseconds) <= 0) continue;
    const ssize_t count = ::read(STDIN_FILENO, buffer.data(), buffer.size());
    CheckInterrupt();  // which may have closed the other end, too
    if (count == 0) return text;
    if (count > 0) {
      text.append(buffer.data(), static_cast<size_t>(count));
    } else if (errno != EINTR && errno != EAGAIN) {
      throw InputError("cannot read standard input: " + ErrnoText());
    }
  }
}

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::Open(const std::filesystem::path& path) {
  // What is no file must not keep anybody waiting until it is looked at.
  const int fd = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) throw InputError("cannot open '" + path.string() + "': " + ErrnoText());
  struct stat info {};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    throw InputError("'" + path.string() + "' is not a regular file");
  }
  const auto size = static_cast<size_t>(info.st_size);
  void* data = nullptr;
  if (size > 0) {
    data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) {
      const std::string why = ErrnoText();
      ::close(fd);
      throw InputError("cannot map '" + path.string() + "': " + why);
    }
  }
  ::close(fd);
  std::shared_ptr<const MappedFile> file(
      new MappedFile(path, static_cast<const std::byte*>(data), size));
  RefuseGitLfsPointer(HeadOf(file->bytes()), path);
  return file;
}

MappedFile::~MappedFile() {
  if (size_ > 0) ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::Drop(std::span<const std::byte> part) const {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<uintptr_t>(part.data()) + page - 1) / page * page;
  const auto end = reinterpret_cast<uintptr_t>(part.data() + part.size()) / page * page;
  // Only whole pages inside the part: its neighbours may still be in use. A refusal costs memory
  // only, so the result is not checked.
  if (begin < end) (void)::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

void MappedFile::Prefetch(std::span<const std::byte> part) const {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(part.data()) / page * page;
  const auto end = reinterpret_cast<uintptr_t>(part.data() + part.size());
  if (begin < end) (void)::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_WILLNEED);
}

std::string ReadTextFile(const std::filesystem::path& path) {
  if (path == "-") return ReadStandardInput();
  const auto file = MappedFile::Open(path);
  std::string text;
  text.reserve(file->bytes().size());
  for (auto rest = file->bytes(); !rest.empty();) {
    CheckInterrupt();
    const auto part = rest.first(std::min(kReadChunk, rest.size()));
    text.append(reinterpret_cast<const char*>(part.data()), part.size());
    rest = rest.subspan(part.size());
  }
  return text;
}

std::string ReadFront(const std::filesystem::path& path, size_t most) {
  std::string front(most, '\0');
  const int fd = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  struct stat info {};
  const bool is_file = fd >= 0 && ::fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
  const ssize_t count = is_file ? ::read(fd, front.data(), most) : 0;
  if (fd >= 0) ::close(fd);
  front.resize(size_t(std::max<ssize_t>(count, 0)));
  return front;
}

FileWriter::FileWriter(const std::filesystem::path& path) : path_(path) {
  fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (fd_ < 0) throw OutputError("cannot create '" + path.string() + "': " + ErrnoText());
  (void)::flock(fd_, LOCK_EX | LOCK_NB);  // tells RemoveLeftover that somebody is at work
}

FileWriter::FileWriter(const std::filesystem::path& path, int64_t position)
    : path_(path), position_(position) {
  fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (fd_ < 0) throw OutputError("cannot open '" + path.string() + "': " + ErrnoText());
  const off_t size = ::lseek(fd_, 0, SEEK_END);
  if (size < position || ::ftruncate(fd_, position) != 0 ||
      ::lseek(fd_, position, SEEK_SET) != position) {
    throw OutputError("cannot go on writing '" + path.string() + "' at byte " +
                      std::to_string(position) + ": it has " + std::to_string(size));
  }
}

FileWriter::~FileWriter() {
  behind_.reset();
  if (fd_ >= 0) ::close(fd_);
}

void FileWriter::Flush() {
  if (behind_ != nullptr) behind_->Drain();
  WriteAll(fd_, buffer_.data(), buffer_.size(), path_);
  buffer_.clear();
}

void FileWriter::Write(std::span<const std::byte> bytes) {
  Write(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

void FileWriter::Write(std::string_view text) {
  position_ += static_cast<int64_t>(text.size());
  while (buffer_.size() + text.size() >= kWriteBuffer) {
    const size_t part = kWriteBuffer - buffer_.size();
    buffer_.append(text.substr(0, part));
    text.remove_prefix(part);
    if (behind_ == nullptr) {
      behind_ = std::make_unique<WriteBehind>(
          [this](const std::string& full) { WriteAll(fd_, full.data(), full.size(), path_); });
    }
    behind_->Hand(buffer_);
  }
  buffer_.append(text);
}

int64_t FileWriter::Align(int64_t alignment) {
  const int64_t padding = (alignment - position_ % alignment) % alignment;
  Write(std::string(static_cast<size_t>(padding), '\0'));
  return position_;
}

void FileWriter::Sync() {
  Flush();
  // fsync reports a delayed write error (full disk, quota) that write() itself may not.
  if (::fsync(fd_) != 0 && errno != EINVAL) {
    ThrowWriteError(path_, errno);
  }
}

void FileWriter::Finish() {
  Flush();
  behind_.reset();
  const int fd = fd_;
  fd_ = -1;
  if (::close(fd) != 0) throw OutputError("cannot close '" + path_.string() + "': " + ErrnoText());
}

void FileWriter::Close() {
  Sync();
  Finish();
}

void SyncFile(const std::filesystem::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const bool synced = fd >= 0 && (::fsync(fd) == 0 || errno == EINVAL);
  const std::string why = ErrnoText();
  if (fd >= 0) ::close(fd);
  if (!synced) throw OutputError("cannot write '" + path.string() + "': " + why);
}

void SyncDirectory(const std::filesystem::path& directory) {
  const int fd = ::open(directory.empty() ? "." : directory.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  (void)::fsync(fd);
  ::close(fd);
}

void WriteFile(const std::filesystem::path& path, std::string_view text) {
  FileWriter writer(path);
  writer.Write(text);
  writer.Finish();
}

void RemoveLeftover(const std::filesystem::path& file, std::string_view mark) {
  const std::string part = file.string() + ".part";
  const int fd = ::open(part.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return;
  struct stat info {};
  const bool plain = ::fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_nlink == 1 &&
                     info.st_uid == ::geteuid() && ::flock(fd, LOCK_EX | LOCK_NB) == 0;
  std::string beginning(kMarkedBytes, '\0');
  const ssize_t size = plain ? ::pread(fd, beginning.data(), beginning.size(), 0) : -1;
  ::close(fd);
  if (size > 0) beginning.resize(static_cast<size_t>(size));
  const bool marked = size > 0 && !mark.empty() && beginning.find(mark) != std::string::npos;
  if (size == 0 || marked) ::unlink(part.c_str());
}

AtomicFile::AtomicFile(std::filesystem::path path)
    : path_(std::move(path)), temporary_(path_.string() + ".part") {
  RemoveLeftover(path_, {});
  const int fd = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0 && errno == EEXIST) {
    throw OutputError("'" + temporary_.string() +
                      "' is in the way: another run may be writing it; if none does, move it away");
  }
  if (fd < 0) throw OutputError("cannot create '" + temporary_.string() + "': " + ErrnoText());
  ::close(fd);
  writer_.emplace(temporary_);
}

AtomicFile::~AtomicFile() {
  writer_.reset();
  std::error_code ignored;
  if (!committed_) std::filesystem::remove(temporary_, ignored);
}

void AtomicFile::Commit() {
  writer_->Close();
  std::error_code error;
  std::filesystem::rename(temporary_, path_, error);
  if (error) throw OutputError("cannot write '" + path_.string() + "': " + error.message());
  committed_ = true;
  SyncDirectory(path_.parent_path());
}

void WriteFileAtomically(const std::filesystem::path& path, std::string_view text) {
  ::unlink((path.string() + ".part").c_str());
  AtomicFile file(path);
  file.writer().Write(text);
  file.Commit();
}

}  // namespace ptq
