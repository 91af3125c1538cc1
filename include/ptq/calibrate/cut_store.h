// The activations on the current cut for every block of samples, in little memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "ptq/runtime/executor.h"

namespace ptq {

/// Holds one set of values for each block. Float tensors whose values fit are kept as binary16: the
/// residual stream of a model then changes by 2^-12 of its size at a cut, far below what quantized
/// weights change. Beyond a limit, blocks are kept in a file; what is stored does not depend on it.
/// Different blocks may be used by different threads at once.
class CutStore {
 public:
  /// `memory_limit` in bytes for what is kept in memory; `scratch` is a directory for the file that
  /// holds the rest, which has no name and vanishes with this object.
  CutStore(size_t blocks, int64_t memory_limit, std::filesystem::path scratch);
  ~CutStore();
  CutStore(CutStore&&) noexcept;
  CutStore& operator=(CutStore&&) noexcept;

  [[nodiscard]] size_t size() const;
  /// How floats are kept: as binary16 where they fit, or as they are.
  enum class Keep { kCompact, kExact };
  /// Replaces the values of a block. Throws OutputError when the scratch file cannot grow.
  void Put(size_t block, const Values& values, Keep keep = Keep::kCompact);
  /// The values of a block; they stay stored.
  [[nodiscard]] Values Get(size_t block) const;
  /// The values of a block, whose memory is free afterwards.
  [[nodiscard]] Values Take(size_t block);

  /// Bytes stored now, in memory and in the file.
  [[nodiscard]] int64_t memory_bytes() const;
  [[nodiscard]] int64_t file_bytes() const;

  /// All blocks as they are at one moment.
  class Image {
   public:
    /// Whether later changes of the store leave it as it is: what is in the scratch file is not
    /// copied.
    [[nodiscard]] bool IsLasting() const;
    /// Writes all blocks to a file and makes it durable. Throws OutputError.
    void Save(const std::filesystem::path& path) const;

   private:
    friend class CutStore;
    struct Parts;
    std::shared_ptr<const Parts> parts_;
  };
  [[nodiscard]] Image TakeImage() const;
  /// Replaces all blocks by those of a saved file. Throws InputError.
  void Load(const std::filesystem::path& path);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ptq
