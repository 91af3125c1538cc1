// Compares figures with gates.
#include <algorithm>
#include <cmath>

#include "gates.h"

#include "ptq/evaluate/task.h"
#include "ptq/flows/make_result.h"
#include "ptq/model/model.h"

namespace ptq {
namespace {

/// Between what should just do and what is asked for: figures do not follow losses exactly.
constexpr double kMargin = 0.8;

std::string NamesOf(const std::vector<Figure>& figures) {
  std::string names;
  for (const Figure& figure : figures) names += (names.empty() ? "" : ", ") + figure.name;
  return names;
}

/// As if queries and documents had been ranked.
std::optional<RetrievalScore> SomeRetrieval() {
  RetrievalScore score;
  score.reference.emplace();
  return score;
}

/// What can be measured of a kind of model beside its source.
std::vector<Figure> FiguresFor(EvalTask task) {
  switch (task) {
    case EvalTask::kAuto:
    case EvalTask::kLanguageModel: {
      LanguageModelScore score;
      score.compared = true;
      return FiguresOf(score);
    }
    case EvalTask::kEmbedding: {
      EmbeddingScore score;
      score.cosine_mean = 0;
      score.has_gold = true;
      score.retrieval = SomeRetrieval();
      return FiguresOf(score);
    }
    case EvalTask::kScore: break;
  }
  ScoreComparison score;
  score.difference_mean = 0;
  score.has_gold = true;
  score.accuracy = 0;
  score.retrieval = SomeRetrieval();
  std::vector<Figure> figures = FiguresOf(score);
  score.width = 1;
  std::ranges::copy(FiguresOf(score), std::back_inserter(figures));
  return figures;
}

}  // namespace

void CheckGates(const Recipe& recipe) {
  if (recipe.gate_text.empty()) {
    throw UsageError("--gate needs held-out text to measure on: give --gate-text");
  }
  std::error_code error;
  if (!std::filesystem::exists(recipe.gate_text, error)) {
    throw InputError("there is no file '" + recipe.gate_text.string() + "' (--gate-text)");
  }
  if (IsOfSeveral(recipe)) return;  // what is measured depends on the part
  const Model model = Model::Load(recipe.source);
  const Graph graph(model);
  const std::vector<Figure> figures = FiguresFor(ChooseOutput(graph, EvalTask::kAuto).task);
  for (const Gate& gate : recipe.gates) {
    const Figure* const figure = FindFigure(figures, gate.figure);
    if (figure == nullptr) {
      throw UsageError("--gate: '" + gate.text + "' is about a figure that '" +
                       recipe.source.string() + "' has not; there are " + NamesOf(figures));
    }
    if (gate.relative && !figure->of_one_model) {
      throw UsageError("--gate: '" + gate.text + "': " + gate.figure +
                       " compares with the source already; give a number without x");
    }
  }
}

std::vector<GateResult> CompareGates(const std::vector<Gate>& gates,
                                     const std::vector<Figure>& figures) {
  std::vector<GateResult> results;
  for (const Gate& gate : gates) {
    const Figure* const figure = FindFigure(figures, gate.figure);
    if (figure == nullptr) {
      throw UsageError("--gate: '" + gate.text + "' is about a figure that was not measured on " +
                       "--gate-text; there are " + NamesOf(figures));
    }
    GateResult result{gate.text, figure->name, figure->value, gate.bound, figure->reference, false};
    if (gate.relative) result.bound *= figure->reference.value_or(1);
    result.passed = result.value.has_value() &&
                    (gate.at_most ? *result.value <= result.bound : *result.value >= result.bound);
    results.push_back(std::move(result));
  }
  return results;
}

std::string FailureText(const std::vector<GateResult>& results) {
  std::string text;
  for (const GateResult& result : results) {
    if (!result.passed) text += (text.empty() ? "" : "; ") + GateText(result);
  }
  return "a quality gate failed: " + text;
}

double PartThatMayStay(const std::vector<GateResult>& results) {
  double part = 1;
  for (const GateResult& result : results) {
    if (result.passed) continue;
    const bool at_most = result.gate.find('<') != std::string::npos;
    const double ideal = result.reference.value_or(at_most ? 0 : 1);
    const double allowed = at_most ? result.bound - ideal : ideal - result.bound;
    const double found = std::abs(result.value.value_or(INFINITY) - ideal);
    const double own = allowed > 0 && found > 0 ? allowed / found : 0;
    part = std::min(part, std::isfinite(own) ? own : 0);
  }
  return part * kMargin;
}

}  // namespace ptq
