// SHA-256 by OpenSSL, and a fast hash in lanes that can be vectorised.
#include "ptq/base/hash.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <utility>

#include <openssl/evp.h>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/interrupt.h"
#include "ptq/base/progress.h"
#include "ptq/base/simd.h"

namespace ptq {
namespace {

constexpr size_t kLanes = 8;  // independent, so that the loop can be vectorised
constexpr uint64_t kOdd = 0x9e3779b97f4a7c15u;

inline uint64_t Mixed(uint64_t hash, uint64_t word) {
  hash = (hash ^ word) * kOdd;
  return hash ^ (hash >> 29);
}

PTQ_VECTOR_CLONES void MixBlocks(const std::byte* bytes, size_t blocks, uint64_t* lanes) {
  for (size_t block = 0; block < blocks; ++block) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      uint64_t word = 0;
      std::memcpy(&word, bytes + (block * kLanes + lane) * sizeof(word), sizeof(word));
      lanes[lane] = Mixed(lanes[lane], word);
    }
  }
}

/// Calls `between` with the size of each chunk; it may throw to end the work.
template <class Between>
std::string HashInChunks(const MappedFile& file, const Between& between) {
  constexpr size_t kChunk = 4 << 20;
  Sha256 hash;
  for (auto rest = file.bytes(); !rest.empty();) {
    const auto part = rest.first(std::min(kChunk, rest.size()));
    between(part.size());
    hash.Update(part);
    file.Drop(part);
    rest = rest.subspan(part.size());
  }
  return hash.HexDigest();
}

}  // namespace

uint64_t FastHash(std::span<const std::byte> bytes) {
  std::array<uint64_t, kLanes> lanes{};
  constexpr size_t kBlock = sizeof(lanes);
  const size_t blocks = bytes.size() / kBlock;
  MixBlocks(bytes.data(), blocks, lanes.data());
  uint64_t hash = bytes.size();
  for (const uint64_t lane : lanes) hash = Mixed(hash, lane);
  for (const std::byte byte : bytes.subspan(blocks * kBlock)) hash = Mixed(hash, uint64_t(byte));
  return hash;
}

struct Sha256::State {
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context{EVP_MD_CTX_new(),
                                                                  &EVP_MD_CTX_free};
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  if (EVP_DigestInit_ex(state_->context.get(), EVP_sha256(), nullptr) != 1) {
    throw InternalError("the crypto library offers no SHA-256");
  }
}

Sha256::~Sha256() = default;

void Sha256::Update(std::span<const std::byte> bytes) {
  EVP_DigestUpdate(state_->context.get(), bytes.data(), bytes.size());
}

void Sha256::Update(std::string_view text) { Update(std::as_bytes(std::span(text))); }

std::string Sha256::HexDigest() {
  std::array<unsigned char, 32> digest{};
  unsigned int length = 0;
  EVP_DigestFinal_ex(state_->context.get(), digest.data(), &length);
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : digest) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

std::string Sha256Hex(std::span<const std::byte> bytes) {
  Sha256 hash;
  hash.Update(bytes);
  return hash.HexDigest();
}

std::string Sha256Hex(std::string_view text) { return Sha256Hex(std::as_bytes(std::span(text))); }

std::string Sha256OfFile(const std::filesystem::path& path) {
  constexpr size_t kLarge = 256 << 20;
  const auto file = MappedFile::Open(path);
  std::optional<Progress> progress;
  if (file->bytes().size() > kLarge) {
    progress.emplace("hashing " + path.filename().string(), int64_t(file->bytes().size()));
  }
  return HashInChunks(*file, [&](size_t bytes) {
    CheckInterrupt();
    if (progress.has_value()) progress->Advance(int64_t(bytes));
  });
}

FileHashes::FileHashes(std::vector<std::filesystem::path> files) {
  hashes_ = std::async(std::launch::async, [this, files = std::move(files)] {
    std::vector<std::string> hashes;
    for (const auto& path : files) {
      hashes.push_back(HashInChunks(*MappedFile::Open(path), [&](size_t) {
        CheckInterrupt();
        if (stopped_) throw Interrupted("nobody waits for the hashes");
      }));
    }
    return hashes;
  });
}

FileHashes::~FileHashes() { stopped_ = true; }

std::vector<std::string> FileHashes::Take() { return hashes_.get(); }

}  // namespace ptq
