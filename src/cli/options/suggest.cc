// Finds the known word nearest to an unknown one by case, prefix and number of edits.
#include "suggest.h"

#include <algorithm>
#include <cctype>
#include <vector>

namespace ptq {
namespace {

/// Short words are seldom meant by something that differs in several letters.
size_t MostEdits(size_t length) { return length < 3 ? 0 : std::min<size_t>(3, 1 + length / 4); }

/// Long words need no more than this for a comparison, whatever is typed.
constexpr size_t kLongest = 64;

}  // namespace

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> two_ago, last(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const bool same = a[i - 1] == b[j - 1];
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (same ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], two_ago[j - 2] + 1);
      }
    }
    two_ago = last;
    last = row;
  }
  return last[b.size()];
}

std::string Normalized(std::string_view word) {
  std::string text(word);
  for (char& c : text) {
    c = c == '_' ? '-' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return text;
}

std::string Closest(std::string_view word, std::span<const std::string> candidates) {
  const std::string wanted = Normalized(word.substr(0, kLongest));
  if (wanted.empty()) return "";
  const std::string* best = nullptr;
  for (const std::string& candidate : candidates) {
    if (Normalized(candidate) == wanted) return candidate;
    const bool begins = wanted.size() >= 2 && Normalized(candidate).starts_with(wanted);
    if (begins && (best == nullptr || candidate.size() < best->size())) best = &candidate;
  }
  if (best != nullptr) return *best;
  size_t least = MostEdits(wanted.size()) + 1;
  for (const std::string& candidate : candidates) {
    const size_t edits = EditDistance(wanted, Normalized(candidate));
    if (edits < least && edits < candidate.size()) {
      least = edits;
      best = &candidate;
    }
  }
  if (best != nullptr) return *best;
  for (const std::string& candidate : candidates) {
    const bool begins = candidate.size() >= 3 && wanted.starts_with(Normalized(candidate));
    if (begins && (best == nullptr || candidate.size() > best->size())) best = &candidate;
  }
  return best == nullptr ? "" : *best;
}

std::string DidYouMean(std::string_view word, std::span<const std::string> candidates) {
  const std::string closest = Closest(word, candidates);
  return closest.empty() ? "" : "; did you mean '" + closest + "'?";
}

std::string Joined(std::span<const std::string> words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

}  // namespace ptq
