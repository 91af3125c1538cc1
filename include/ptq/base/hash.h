// SHA-256, for the provenance that the metadata records; and a fast hash for tables in memory.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <future>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ptq {

/// SHA-256 (FIPS 180-4), fed in parts.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void Update(std::span<const std::byte> bytes);
  void Update(std::string_view text);
  /// 64 lower-case hexadecimal digits. Call once.
  [[nodiscard]] std::string HexDigest();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

[[nodiscard]] std::string Sha256Hex(std::span<const std::byte> bytes);
[[nodiscard]] std::string Sha256Hex(std::string_view text);
/// Hash of a file's bytes; reads it once, keeps none of it. Throws InputError.
[[nodiscard]] std::string Sha256OfFile(const std::filesystem::path& path);

/// Hashes files one after another on a thread of its own, beside a run. Gives up when it is
/// destroyed.
class FileHashes {
 public:
  explicit FileHashes(std::vector<std::filesystem::path> files);
  ~FileHashes();
  FileHashes(const FileHashes&) = delete;
  FileHashes& operator=(const FileHashes&) = delete;

  /// The hashes in the order of the files, when all are done. Call once. Throws InputError for a
  /// file that cannot be read, Interrupted.
  [[nodiscard]] std::vector<std::string> Take();

 private:
  std::atomic<bool> stopped_ = false;
  std::future<std::vector<std::string>> hashes_;
};

/// A hash at the speed of memory. Whoever relies on equality has to compare the bytes as well.
[[nodiscard]] uint64_t FastHash(std::span<const std::byte> bytes);

}  // namespace ptq
