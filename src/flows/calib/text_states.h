// Texts as points: what a model makes of them inside, or, without a model, the words they have.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace ptq {

/// Of a text the model reads no more tokens to tell it from others.
inline constexpr int64_t kTokensRead = 128;

/// Rows of numbers, one for each text.
struct TextPoints {
  int64_t width = 0;
  std::vector<float> values;  ///< [N, width]

  [[nodiscard]] int64_t count() const { return width == 0 ? 0 : std::ssize(values) / width; }
  [[nodiscard]] std::span<const float> row(int64_t i) const {
    return std::span(values).subspan(size_t(i * width), size_t(width));
  }
};

/// A model's hidden states: of a language model what its head reads, else what it hands out.
class TextStates {
 public:
  /// Loads the model. Throws what Model::Load, ChooseOutput and Feeder throw.
  explicit TextStates(const std::filesystem::path& source);
  ~TextStates();
  TextStates(const TextStates&) = delete;
  TextStates& operator=(const TextStates&) = delete;

  /// Of each text the mean of its tokens' states, each divided by its Euclidean norm. Texts are cut
  /// to `most_tokens`; none is empty. Shows progress.
  [[nodiscard]] TextPoints Of(std::span<const std::vector<int64_t>> texts,
                              int64_t most_tokens) const;
  /// Rows of the table that token ids choose from; 0: not known.
  [[nodiscard]] int64_t vocabulary() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Counts of the texts' words by their hashes in 256 places, each by its logarithm (feature
/// hashing, Weinberger et al. 2009), divided by the norm.
[[nodiscard]] TextPoints WordPoints(std::span<const std::string> texts);

/// Moves the mean to 0 and divides each row by its norm: what all texts have in common says
/// nothing.
void CenterPoints(TextPoints& points);

}  // namespace ptq
