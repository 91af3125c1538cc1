// The word that was probably meant, for one that is not known.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace ptq {

/// Letters to insert, delete, replace or swap with their neighbour until `a` is `b` (Damerau's
/// distance, no part edited twice).
[[nodiscard]] size_t EditDistance(std::string_view a, std::string_view b);

/// Lower case, and every '_' is a '-': words that agree so are the same to a user.
[[nodiscard]] std::string Normalized(std::string_view word);

/// The candidate nearest to `word`: the same when normalized; else the shortest that it begins;
/// else the one with the fewest edits, if these are few for its length. Empty: none. Of equals the
/// first.
[[nodiscard]] std::string Closest(std::string_view word, std::span<const std::string> candidates);

/// "; did you mean 'candidate'?", or nothing when none is close.
[[nodiscard]] std::string DidYouMean(std::string_view word,
                                     std::span<const std::string> candidates);

/// "a, b, c".
[[nodiscard]] std::string Joined(std::span<const std::string> words);

}  // namespace ptq
