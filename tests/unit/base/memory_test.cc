// What the process occupies, and what is given back to the system.
#include "ptq/base/memory.h"

#include <algorithm>
#include <cstddef>
#include <vector>

#include <gtest/gtest.h>

namespace ptq {
namespace {

TEST(LongLived, HoldsBytesOfAnySizeAndGivesLargeOnesBackAtOnce) {
  for (const size_t count : {size_t{1}, size_t{1000}, size_t{64} << 10, size_t{5} << 20}) {
    std::vector<std::byte, LongLived> bytes(count, std::byte{7});
    bytes.resize(count + 1, std::byte{9});
    EXPECT_EQ(std::ranges::count(bytes, std::byte{7}), int64_t(count));
    EXPECT_EQ(bytes.back(), std::byte{9});
  }
  const int64_t before = ResidentBytes();
  {
    const std::vector<std::byte, LongLived> large(size_t{64} << 20, std::byte{1});
    EXPECT_GE(ResidentBytes(), before + (60 << 20));
  }
  EXPECT_LE(ResidentBytes(), before + (8 << 20));
}

TEST(PeakResidentBytes, IsMoreThanAMegabyte) { EXPECT_GT(PeakResidentBytes(), 1 << 20); }

}  // namespace
}  // namespace ptq
