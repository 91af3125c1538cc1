// What the process occupies, and how its memory comes and goes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ptq/base/ranks.h"

namespace ptq {

/// Largest resident size of this process so far, in bytes (VmHWM); 0 where unknown.
[[nodiscard]] int64_t PeakResidentBytes();
/// On rank 0, that of the rank that needed most.
[[nodiscard]] int64_t PeakResidentBytes(Ranks& ranks);

/// Resident size of this process now, in bytes, without what the allocator holds for later; 0 where
/// unknown.
[[nodiscard]] int64_t ResidentBytes();

/// What the matrix library will hold for its threads once each of them has had a product.
[[nodiscard]] int64_t MatrixLibraryBytes();

/// Memory of this machine, in bytes; 0 where unknown.
[[nodiscard]] int64_t PhysicalBytes();

/// Tells the allocator, for the whole process, to keep what is freed for the next to ask (up to
/// some ten MiB): every tensor and every buffer of codes would otherwise come from the system page
/// by page. For main, once.
void KeepFreedMemory();

/// Lets this process allocate no more than the machine has, swap and the limit of its control group
/// counted: what would end it from outside becomes std::bad_alloc. For main, once.
void LimitMemory();

/// Gives pages that the allocator holds but nobody uses back to the system.
void ReleaseFreeMemory(int64_t keep = 0);

/// An allocator (std::allocator_traits) for bytes that live long among those that come and go:
/// large pieces are pages of their own, which the system gets back at once, and leave no gaps in
/// the heap. Small ones come from the heap. Throws std::bad_alloc.
struct LongLived {
  using value_type = std::byte;
  template <class>
  struct rebind {  // NOLINT(readability-identifier-naming): the standard's name
    using other = LongLived;
  };
  [[nodiscard]] std::byte* allocate(size_t count);
  void deallocate(std::byte* bytes, size_t count) noexcept;
  bool operator==(const LongLived&) const = default;
};

}  // namespace ptq
