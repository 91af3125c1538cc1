// Where the bits of a code lie in the packed bytes.
#include "forms/bit_packing.h"

#include "emit_testing.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ptq {
namespace {

std::vector<int> Packed(const std::vector<uint8_t>& codes, int bits) {
  std::vector<std::byte> bytes(size_t(PackedBytes(int64_t(codes.size()), bits)), std::byte{0xff});
  PackBits(codes, bits, bytes.data());
  std::vector<int> result;
  for (const std::byte b : bytes) result.push_back(std::to_integer<int>(b));
  return result;
}

TEST(PackBits, PutsTheFirstCodeInTheLowestBits) {
  EXPECT_THAT(Packed({2, 2, 2, 2}, 4), ::testing::ElementsAre(0x22, 0x22));
  EXPECT_THAT(Packed({1, 2, 15}, 4), ::testing::ElementsAre(0x21, 0x0f));
  EXPECT_THAT(Packed({3, 0, 1, 2, 1}, 2), ::testing::ElementsAre(0b10010011, 0b01));
  EXPECT_THAT(Packed({7, 255}, 8), ::testing::ElementsAre(7, 255));
}

TEST(PackBits, RoundTripsAnyCountAndWidth) {
  std::mt19937 random(1);
  for (const int bits : {1, 2, 3, 4, 5, 8}) {
    for (const size_t count : {1u, 2u, 7u, 33u, 128u}) {
      std::vector<uint8_t> codes(count);
      for (auto& code : codes) code = uint8_t(random() % (1u << bits));
      std::vector<std::byte> bytes(size_t(PackedBytes(int64_t(count), bits)), std::byte{0xff});
      PackBits(codes, bits, bytes.data());
      for (size_t i = 0; i < count; ++i) {
        ASSERT_EQ(testing::CodeAt(bytes, bits, int64_t(i)), codes[i]) << bits << " bits, " << i;
      }
      for (int64_t bit = int64_t(count) * bits; bit < int64_t(bytes.size()) * 8; ++bit) {
        ASSERT_EQ(testing::BitAt(bytes, bit), 0) << "unused bits are zero";
      }
    }
  }
}

std::vector<int> Integers(const std::vector<uint8_t>& codes, int bits, bool symmetric) {
  QuantSpec spec;
  spec.bits = bits;
  spec.symmetric = symmetric;
  const auto bytes = PackIntegers(codes, spec);
  EXPECT_EQ(int64_t(bytes.size()), PackedBytes(int64_t(codes.size()), bits));
  std::vector<int> result;
  for (size_t i = 0; i < codes.size(); ++i) {
    const int code = testing::CodeAt(bytes, bits, int64_t(i));
    const bool negative = symmetric && code >= 1 << (bits - 1);
    result.push_back(negative ? code - (1 << bits) : code);
  }
  return result;
}

TEST(PackIntegers, CountsSignedCodesFromTheirMiddle) {
  for (const int bits : {2, 4, 8}) {
    std::vector<uint8_t> codes;
    std::vector<int> unsigned_values, signed_values;
    for (int code = 0; code < 1 << bits; ++code) {
      codes.push_back(uint8_t(code));
      unsigned_values.push_back(code);
      signed_values.push_back(code - (1 << (bits - 1)));
    }
    EXPECT_EQ(Integers(codes, bits, /*symmetric=*/true), signed_values);
    EXPECT_EQ(Integers(codes, bits, /*symmetric=*/false), unsigned_values);
  }
}

TEST(PackIntegers, LeavesUnusedBitsZero) {
  QuantSpec spec;
  spec.bits = 4;
  spec.symmetric = true;
  EXPECT_THAT(PackIntegers({8, 7, 8}, spec),
              ::testing::ElementsAre(std::byte{0xf0}, std::byte{0x00}));
}

}  // namespace
}  // namespace ptq
