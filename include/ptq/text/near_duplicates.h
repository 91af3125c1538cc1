// Texts that say nearly the same, and runs of words that texts have in common.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace ptq {

/// For each text the first one that it nearly equals, itself when there is none before it. Texts
/// are near when the sets of their runs of five characters (letters in lower case, each run of
/// three digits or more as one, white space as one blank) have a Jaccard similarity of about
/// `similarity` or more: estimated by MinHash with 128 hashes (Broder 1997) on texts that share one
/// of 32 bands of four (Leskovec et al., Mining of Massive Datasets, ch. 3). A text is compared
/// with those that are no duplicates themselves. The same for any number of threads.
[[nodiscard]] std::vector<size_t> FindNearDuplicates(std::span<const std::string> texts,
                                                     double similarity = 0.8);

/// Hashes of the runs of `n` words: of letters and digits, in lower case; where a writing has no
/// blanks, each character is a word.
[[nodiscard]] std::vector<uint64_t> WordRuns(std::string_view text, size_t n);

/// The number of words as WordRuns counts them.
[[nodiscard]] size_t CountWords(std::string_view text);

/// Different runs of `n` words among all runs of the texts, 0 to 1; 1 when there are none.
[[nodiscard]] double DistinctRuns(std::span<const std::string> texts, size_t n);

/// Runs of words of some texts, to find others that have one of them.
class RunIndex {
 public:
  explicit RunIndex(size_t n) : n_(n) {}
  void Add(std::string_view text);
  /// Whether the text has a run of an added one; of texts with fewer words, whether it is equal.
  [[nodiscard]] bool Overlaps(std::string_view text) const;

 private:
  [[nodiscard]] std::vector<uint64_t> KeysOf(std::string_view text) const;
  size_t n_;
  std::unordered_set<uint64_t> keys_;
};

}  // namespace ptq
