// SHA-256 against published digests, and what changes the fast hash.
#include "ptq/base/hash.h"

#include <set>
#include <string>
#include <vector>

#include "support/temp_directory.h"
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

// The vectors are those of FIPS 180-4's examples.
TEST(Sha256, GivesThePublishedDigests) {
  EXPECT_EQ(Sha256Hex(std::string_view("")),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex(std::string_view("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256Hex(std::string_view("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(Sha256Hex(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, DoesNotDependOnHowTheBytesAreCut) {
  const std::string text(1000, 'z');
  Sha256 hash;
  for (size_t i = 0; i < text.size(); i += 37) hash.Update(std::string_view(text).substr(i, 37));
  EXPECT_EQ(hash.HexDigest(), Sha256Hex(text));
}

TEST(Sha256OfFile, HashesTheContentAndReportsAMissingFile) {
  const testing::TempDirectory directory;
  EXPECT_EQ(Sha256OfFile(directory.Write("abc", "abc")), Sha256Hex(std::string_view("abc")));
  EXPECT_THROW((void)Sha256OfFile(directory.path() / "missing"), InputError);
}

TEST(FileHashes, AreThoseOfTheFilesInTheirOrder) {
  const testing::TempDirectory directory;
  const auto a = directory.Write("a", std::string(9 << 20, 'a'));
  const auto b = directory.Write("b", "");
  EXPECT_EQ(FileHashes({a, b}).Take(),
            (std::vector<std::string>{Sha256OfFile(a), Sha256OfFile(b)}));
  EXPECT_THROW((void)FileHashes({a, directory.path() / "absent"}).Take(), InputError);
}

TEST(FileHashes, AreGivenUpWhenNobodyWaits) {
  const testing::TempDirectory directory;
  const auto large = directory.Write("large", "");
  std::filesystem::resize_file(large, int64_t{1} << 40);  // a hole; hours of hashing
  const FileHashes hashes({large});
}

TEST(FastHash, ChangesWithEveryByteAndTheLength) {
  std::set<uint64_t> seen;
  for (const size_t size : {0u, 1u, 63u, 64u, 65u, 200u}) {
    std::vector<std::byte> bytes(size);
    EXPECT_TRUE(seen.insert(FastHash(bytes)).second) << size;
    EXPECT_EQ(FastHash(bytes), FastHash(std::vector<std::byte>(size)));
    for (size_t i = 0; i < size; ++i) {
      bytes[i] = std::byte{1};
      EXPECT_TRUE(seen.insert(FastHash(bytes)).second) << size << " bytes, at " << i;
      bytes[i] = std::byte{0};
    }
  }
}

}  // namespace
}  // namespace ptq
