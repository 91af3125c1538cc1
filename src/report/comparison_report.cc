// Words what two models have in common and what not.
#include "ptq/report/comparison_report.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <nlohmann/json.hpp>

#include "ptq/base/format.h"
#include "ptq/base/json.h"
#include "ptq/report/table.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

double LossChange(const ComparedTensor& tensor) {
  double change = 0;
  for (size_t i = 0; i < 2; ++i) {
    if (!tensor.states[i].has_value()) continue;
    change += (i == 0 ? -1 : 1) * tensor.states[i]->relative_loss.value_or(0);
  }
  return change;
}

int64_t ByteChange(const ComparedTensor& tensor) {
  const auto& [a, b] = tensor.states;
  return (b.has_value() ? b->bytes : 0) - (a.has_value() ? a->bytes : 0);
}

std::vector<const ComparedTensor*> Listed(const Comparison& comparison,
                                          const ComparisonList& list) {
  std::vector<const ComparedTensor*> tensors;
  for (const ComparedTensor& tensor : comparison.tensors) {
    if (list.all || tensor.differs()) tensors.push_back(&tensor);
  }
  if (list.order == ComparisonOrder::kLoss) {
    std::ranges::stable_sort(tensors, std::greater<>(),
                             [](const auto* tensor) { return std::abs(LossChange(*tensor)); });
  } else if (list.order == ComparisonOrder::kBytes) {
    std::ranges::stable_sort(tensors, std::greater<>(),
                             [](const auto* tensor) { return std::abs(ByteChange(*tensor)); });
  }
  if (list.top > 0 && std::ssize(tensors) > list.top) tensors.resize(size_t(list.top));
  return tensors;
}

std::string LossText(const std::optional<TensorState>& state) {
  return state.has_value() && state->relative_loss.has_value()
             ? FormatPercent(*state->relative_loss)
             : "-";
}

std::string ChangedBytes(int64_t change) {
  if (change == 0) return "0 B";
  return (change < 0 ? "-" : "+") + FormatBytes(std::abs(change));
}

std::string TensorsText(const Comparison& comparison, const ComparisonList& list) {
  using Align = TextTable::Align;
  const auto tensors = Listed(comparison, list);
  if (tensors.empty()) return "all tensors are the same\n";
  TextTable table({{"tensor", Align::kLeft},
                   {"A", Align::kLeft},
                   {"B", Align::kLeft},
                   {"size A", Align::kRight},
                   {"size B", Align::kRight},
                   {"error A", Align::kRight},
                   {"error B", Align::kRight}});
  for (const ComparedTensor* tensor : tensors) {
    const auto& [a, b] = tensor->states;
    table.AddRow({tensor->name, a.has_value() ? a->form : "absent",
                  b.has_value() ? b->form : "absent", a.has_value() ? FormatBytes(a->bytes) : "-",
                  b.has_value() ? FormatBytes(b->bytes) : "-", LossText(a), LossText(b)});
  }
  return table.Text();
}

std::string FiguresText(const Comparison& comparison) {
  const auto& [a, b] = comparison.sides;
  std::string text;
  for (const Figure& figure : b.figures) {
    const Figure* const other = FindFigure(a.figures, figure.name);
    text += "quality       " + figure.name + " ";
    if (other != nullptr) {
      text += (other->value ? FormatNumber(*other->value, 4) : "-") + " -> ";
    } else if (figure.of_one_model && figure.reference.has_value()) {
      text += FormatNumber(*figure.reference, 4) + " -> ";
    }
    text += (figure.value ? FormatNumber(*figure.value, 4) : "-") + " (" + figure.unit + ")\n";
  }
  return text;
}

Json StateJson(const std::optional<TensorState>& state) {
  if (!state.has_value()) return nullptr;
  return {{"form", state->form},
          {"bytes", state->bytes},
          {"relative_loss", NumberOrNull(state->relative_loss)}};
}

Json SideJson(const ComparedModel& side) {
  Json figures = Json::object();
  for (const Figure& figure : side.figures) {
    figures[figure.name] = NumberOrNull(figure.value);
  }
  return {{"path", side.path.string()},
          {"bytes", side.bytes},
          {"result", side.recipe.is_object()},
          {"figures", std::move(figures)}};
}

}  // namespace

std::string ComparisonText(const Comparison& comparison, const ComparisonList& list) {
  const auto& [a, b] = comparison.sides;
  std::string text = "A             " + a.path.string() + " (" + FormatBytes(a.bytes) + ")\n" +
                     "B             " + b.path.string() + " (" + FormatBytes(b.bytes) + ", " +
                     ChangedBytes(b.bytes - a.bytes) + ")\n";
  if (comparison.same_source.has_value()) {
    text += std::string("source        ") +
            (*comparison.same_source ? "the same\n" : "two different models\n");
  }
  for (const RecipeChange& change : comparison.recipe) {
    text += "recipe        " + change.key + ": " + DumpJson(change.values[0]) + " -> " +
            DumpJson(change.values[1]) + "\n";
  }
  int64_t differing = 0;
  for (const ComparedTensor& tensor : comparison.tensors) differing += tensor.differs() ? 1 : 0;
  text += "tensors       " + std::to_string(comparison.tensors.size()) + ", of which " +
          std::to_string(differing) + " differ\n" + FiguresText(comparison) + "\n";
  return text + TensorsText(comparison, list);
}

Json ComparisonJson(const Comparison& comparison, const ComparisonList& list) {
  Json recipe = Json::array(), tensors = Json::array();
  for (const RecipeChange& change : comparison.recipe) {
    recipe.push_back({{"key", change.key}, {"a", change.values[0]}, {"b", change.values[1]}});
  }
  ComparisonList every = list;
  every.all = true;
  for (const ComparedTensor* tensor : Listed(comparison, every)) {
    tensors.push_back({{"name", tensor->name},
                       {"differs", tensor->differs()},
                       {"a", StateJson(tensor->states[0])},
                       {"b", StateJson(tensor->states[1])}});
  }
  return {{"a", SideJson(comparison.sides[0])},
          {"b", SideJson(comparison.sides[1])},
          {"same_source",
           comparison.same_source.has_value() ? Json(*comparison.same_source) : Json(nullptr)},
          {"recipe_changes", std::move(recipe)},
          {"tensors", std::move(tensors)}};
}

}  // namespace ptq
