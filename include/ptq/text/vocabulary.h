// Texts whose tokens a model has no embedding for.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace ptq {

class Tokenizer;

/// The first id that a table of `vocabulary` rows does not have; of a table of unknown size (0) a
/// negative one.
[[nodiscard]] std::optional<int64_t> FindOutside(std::span<const int64_t> ids, int64_t vocabulary);

/// Counts the texts of one file, and tells which of them have a token past the model's embedding
/// table, such as an added `<image>`.
class SkippedTexts {
 public:
  /// `name` is what messages call the file, and `unit` a text. `tokenizer` must outlive this.
  SkippedTexts(std::string name, const Tokenizer& tokenizer, int64_t vocabulary,
               std::string unit = "text")
      : name_(std::move(name)),
        unit_(std::move(unit)),
        tokenizer_(&tokenizer),
        vocabulary_(vocabulary) {}

  /// Whether a text is to be left out. `number` is its place in the file, from 1.
  [[nodiscard]] bool Skip(std::span<const int64_t> ids, int64_t number, std::string_view text);
  [[nodiscard]] int64_t count() const { return count_; }

  /// Warns of what was skipped, and says it in a sentence; empty when nothing was. Throws
  /// InputError when more than half of the texts were: the tokenizer is of another model then.
  [[nodiscard]] std::string Finish() const;

 private:
  std::string name_;
  std::string unit_;
  const Tokenizer* tokenizer_;
  int64_t vocabulary_;
  int64_t texts_ = 0;
  int64_t count_ = 0;
  int64_t id_ = 0;     ///< the first such token
  std::string where_;  ///< and its text
};

}  // namespace ptq
