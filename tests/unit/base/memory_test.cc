// What the process occupies, and what is given back to the system.
#include "ptq/base/memory.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include <gtest/gtest.h>
#include <sys/resource.h>

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

#ifndef __SANITIZE_ADDRESS__
TEST(LimitMemory, LetsNobodyTakeMoreThanThereIs) {
  const auto take_too_much = [] {
    LimitMemory();
    rlimit limit{};
    if (::getrlimit(RLIMIT_DATA, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) std::exit(1);
    // Piece by piece, none of which is much: only their sum is refused.
    constexpr size_t kPiece = size_t{64} << 20;
    std::vector<std::unique_ptr<char[]>> pieces;
    try {
      for (uint64_t bytes = 0; bytes <= limit.rlim_cur; bytes += kPiece) {
        pieces.push_back(std::make_unique_for_overwrite<char[]>(kPiece));
        pieces.back()[0] = 1;
      }
    } catch (const std::bad_alloc&) {
      std::exit(0);
    }
    std::exit(2);
  };
  EXPECT_EXIT(take_too_much(), ::testing::ExitedWithCode(0), "");
}
#endif

}  // namespace
}  // namespace ptq
