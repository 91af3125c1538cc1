// MinHash signatures, made in parallel, and bands of them in tables.
#include "ptq/text/near_duplicates.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <unordered_map>

#include "ptq/base/hash.h"
#include "ptq/base/interrupt.h"
#include "ptq/base/parallel.h"

namespace ptq {
namespace {

constexpr size_t kHashes = 128, kBands = 32, kBandRows = kHashes / kBands;
constexpr size_t kShingle = 5;
/// Texts of a bucket that one is compared with: those of a common beginning may be many.
constexpr size_t kMostCompared = 64;

using MinHashes = std::array<uint32_t, kHashes>;

uint64_t Mixed(uint64_t x) {  // splitmix64 (Steele et al. 2014)
  x += 0x9E3779B97F4A7C15;
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9;
  x = (x ^ x >> 27) * 0x94D049BB133111EB;
  return x ^ x >> 31;
}

/// Multipliers and summands of the hashes.
const std::array<std::array<uint64_t, kHashes>, 2>& Hashes() {
  static const auto kMade = [] {
    std::array<std::array<uint64_t, kHashes>, 2> made{};
    for (size_t i = 0; i < kHashes; ++i) {
      made[0][i] = Mixed(2 * i) | 1;
      made[1][i] = Mixed(2 * i + 1);
    }
    return made;
  }();
  return kMade;
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
char LowerLetter(char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c; }
bool IsSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/// Lower case; one blank for white space; one digit for a long number, such as a time or an
/// identifier.
std::string Simplified(std::string_view text) {
  constexpr size_t kLongNumber = 3;
  std::string simple;
  simple.reserve(text.size());
  size_t digits = 0;
  for (const char c : text) {
    digits = IsDigit(c) ? digits + 1 : 0;
    if (digits == kLongNumber) simple.resize(simple.size() - kLongNumber + 2);  // the first stays
    if (digits >= kLongNumber) {
      simple.back() = '0';
      continue;
    }
    const char kind = IsSpace(c) ? ' ' : LowerLetter(c);
    if (kind != ' ' || simple.empty() || simple.back() != ' ') simple += kind;
  }
  while (!simple.empty() && simple.back() == ' ') simple.pop_back();
  return simple;
}

MinHashes SignatureOf(std::string_view text) {
  const std::string simple = Simplified(text);
  const auto& [factors, summands] = Hashes();
  MinHashes least;
  least.fill(~uint32_t{0});
  uint64_t window = 0;
  for (size_t i = 0; i < simple.size(); ++i) {
    window = (window << 8 | uint8_t(simple[i])) & 0xFFFFFFFFFF;  // five characters
    if (i + 1 < std::min(kShingle, simple.size())) continue;
    const uint64_t hash = Mixed(window);
    for (size_t h = 0; h < kHashes; ++h) {
      least[h] = std::min(least[h], uint32_t((factors[h] * hash + summands[h]) >> 32));
    }
  }
  return least;
}

uint64_t BandKey(const MinHashes& signature, size_t band) {
  uint64_t key = band;
  for (size_t row = 0; row < kBandRows; ++row) {
    key = Mixed(key ^ signature[band * kBandRows + row]);
  }
  return key;
}

class Bands {
 public:
  Bands(std::span<const MinHashes> signatures, double similarity)
      : signatures_(signatures), least_(size_t(std::lround(similarity * double(kHashes)))) {}

  /// The first text that `i` nearly equals, or itself, which is remembered then.
  size_t FirstLike(size_t i) {
    std::array<uint64_t, kBands> keys;
    size_t first = i;
    for (size_t band = 0; band < kBands; ++band) {
      keys[band] = BandKey(signatures_[i], band);
      const auto found = buckets_.find(keys[band]);
      if (found == buckets_.end()) continue;
      for (const uint32_t other : found->second) {
        if (other < first && AreNear(i, other)) first = other;
      }
    }
    if (first != i) return first;
    for (const uint64_t key : keys) {
      auto& bucket = buckets_[key];
      if (bucket.size() < kMostCompared) bucket.push_back(uint32_t(i));
    }
    return i;
  }

 private:
  [[nodiscard]] bool AreNear(size_t a, size_t b) const {
    size_t equal = 0;
    for (size_t h = 0; h < kHashes; ++h) equal += signatures_[a][h] == signatures_[b][h] ? 1 : 0;
    return equal >= least_;
  }

  std::span<const MinHashes> signatures_;
  size_t least_;
  std::unordered_map<uint64_t, std::vector<uint32_t>> buckets_;
};

// ---- Words --------------------------------------------------------------------------------------

/// Characters of writings without blanks begin with these bytes of UTF-8: U+2E80 and above, but
/// for Hangul, which has blanks.
bool StandsAlone(uint8_t first, uint8_t second) {
  return first >= 0xE3 && !(first >= 0xEA && first <= 0xED) && !(first == 0xEF && second >= 0xBC);
}

std::vector<uint64_t> WordHashes(std::string_view text) {
  std::vector<uint64_t> words;
  std::string word;
  const auto finish = [&] {
    if (!word.empty()) words.push_back(FastHash(std::as_bytes(std::span(word))));
    word.clear();
  };
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = uint8_t(text[i]);
    if (byte < 0x80) {
      const char c = LowerLetter(text[i]);
      if ((c >= 'a' && c <= 'z') || IsDigit(c)) {
        word += c;
      } else {
        finish();
      }
      continue;
    }
    const size_t length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2;
    const auto second = i + 1 < text.size() ? uint8_t(text[i + 1]) : uint8_t{0};
    if (StandsAlone(byte, second)) {
      finish();
      word = text.substr(i, length);
      finish();
    } else {
      word += text.substr(i, length);
    }
    i += length - 1;
  }
  finish();
  return words;
}

}  // namespace

std::vector<size_t> FindNearDuplicates(std::span<const std::string> texts, double similarity) {
  std::vector<MinHashes> signatures(texts.size());
  ParallelFor(int64_t(texts.size()),
              [&](int64_t i) { signatures[size_t(i)] = SignatureOf(texts[size_t(i)]); });
  Bands bands(signatures, similarity);
  std::vector<size_t> first(texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    if (i % 1024 == 0) CheckInterrupt();
    first[i] = bands.FirstLike(i);
  }
  return first;
}

std::vector<uint64_t> WordRuns(std::string_view text, size_t n) {
  const std::vector<uint64_t> words = WordHashes(text);
  std::vector<uint64_t> runs;
  for (size_t i = 0; i + n <= words.size(); ++i) {
    uint64_t hash = n;
    for (size_t j = i; j < i + n; ++j) hash = Mixed(hash ^ words[j]);
    runs.push_back(hash);
  }
  return runs;
}

size_t CountWords(std::string_view text) { return WordHashes(text).size(); }

double DistinctRuns(std::span<const std::string> texts, size_t n) {
  std::unordered_set<uint64_t> distinct;
  size_t all = 0;
  for (const std::string& text : texts) {
    const auto runs = WordRuns(text, n);
    distinct.insert(runs.begin(), runs.end());
    all += runs.size();
  }
  return all == 0 ? 1 : double(distinct.size()) / double(all);
}

std::vector<uint64_t> RunIndex::KeysOf(std::string_view text) const {
  std::vector<uint64_t> keys = WordRuns(text, n_);
  if (keys.empty()) keys = WordRuns(text, std::max<size_t>(1, CountWords(text)));
  return keys;
}

void RunIndex::Add(std::string_view text) {
  const auto keys = KeysOf(text);
  keys_.insert(keys.begin(), keys.end());
}

bool RunIndex::Overlaps(std::string_view text) const {
  return std::ranges::any_of(KeysOf(text), [&](uint64_t key) { return keys_.contains(key); });
}

}  // namespace ptq
