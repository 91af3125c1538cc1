// How sizes and times are written, and what is given back to the system.
#include "ptq/base/memory.h"

#include <algorithm>
#include <cstddef>
#include <vector>

#include <gtest/gtest.h>

namespace ptq {
namespace {

TEST(FormatBytes, PicksAUnit) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(312), "312 B");
  EXPECT_EQ(FormatBytes(1024), "1.0 KiB");
  EXPECT_EQ(FormatBytes(12 << 20), "12.0 MiB");
  EXPECT_EQ(FormatBytes(int64_t{3} << 29), "1.5 GiB");
  EXPECT_EQ(FormatBytes(700 << 20), "700 MiB");
}

TEST(FormatSeconds, PicksAForm) {
  EXPECT_EQ(FormatSeconds(0.85), "850 ms");
  EXPECT_EQ(FormatSeconds(12.3), "12.3 s");
  EXPECT_EQ(FormatSeconds(245), "4 min 05 s");
  EXPECT_EQ(FormatSeconds(7260), "2 h 01 min");
}

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
