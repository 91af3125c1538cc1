// The figures of an evaluation as a flat list, for whoever compares them with limits or prints
// them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ptq/evaluate/embeddings.h"
#include "ptq/evaluate/exact_match.h"
#include "ptq/evaluate/language_model.h"
#include "ptq/evaluate/scores.h"

namespace ptq {

enum class Better { kHigher, kLower };

struct Figure {
  std::string name;             ///< short, as limits name it: "ppl"
  std::string key;              ///< as JSON names it: "perplexity"
  std::optional<double> value;  ///< absent where it does not exist: a correlation of equal values
  Better better = Better::kHigher;
  std::string unit;
  /// What one model has alone, such as a perplexity; what two have in common, such as a KL
  /// divergence, has no reference.
  bool of_one_model = false;
  std::optional<double> reference = {};  ///< the same of the reference, when there is one
};

/// Those that were measured, the most telling first.
[[nodiscard]] std::vector<Figure> FiguresOf(const LanguageModelScore& score);
[[nodiscard]] std::vector<Figure> FiguresOf(const EmbeddingScore& score);
[[nodiscard]] std::vector<Figure> FiguresOf(const ScoreComparison& score);
[[nodiscard]] std::vector<Figure> FiguresOf(const RetrievalScore& score);
[[nodiscard]] std::vector<Figure> FiguresOf(const GenerationScore& score);

/// The figure of a name or key; null when there is none.
[[nodiscard]] const Figure* FindFigure(const std::vector<Figure>& figures, std::string_view name);

}  // namespace ptq
