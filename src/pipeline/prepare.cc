// Starts the search of a run, and predicts what it will need.
#include "prepare.h"

#include <vector>

#include "ptq/calibrate/memory_plan.h"
#include "ptq/calibrate/source.h"
#include "ptq/model/model_forms.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

std::string Joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : " and ") + name;
  return text;
}

/// What the report says of where statistics come from, and of what is left out.
void NoteInputs(SegmentSearch& search, const SearchStart& start, RunReport& report) {
  const Json provenance = search.Provenance();
  if (!provenance.is_null()) {
    report.samples = provenance.at("samples").get<int64_t>();
    report.tokens = provenance.at("tokens").get<int64_t>();
    for (const auto& note : provenance.value("notes", Json::array())) {
      report.notes.push_back(note.get<std::string>());
    }
  }
  if (!search.note().empty()) report.notes.push_back(search.note());
  if (const auto& others = start.source.model.other_forms(); !others.empty()) {
    report.notes.push_back("other forms of the model are left out: " + NamesOf(others));
  }
  const std::vector<std::string>& makers = start.context.inputs.makers;
  if (!makers.empty() && search.calibration() != nullptr) {
    report.notes.push_back("inputs made by " + Joined(makers));
  }
}

int64_t PeakBytes(SegmentSearch& search, const SearchStart& start, const RunReport& report) {
  if (search.calibration() != nullptr) return search.calibration()->memory.peak_bytes;
  const Recipe& recipe = start.recipe;
  CalibrationSize size{!search.Provenance().is_null(), 0, 0, LargestMethodOf(recipe)};
  AddRecipe(recipe, size);
  size.warm = start.context.others.model > 0;
  return PlanMemory(start.source.executor, report.plan, size, recipe.memory_budget).peak_bytes;
}

}  // namespace

DiskNeed StartSearch(SegmentSearch& search, const SearchStart& start, RunReport& report) {
  search.Start(start.sha256, start.scratch);
  NoteInputs(search, start, report);
  report.predicted_peak_bytes = PeakBytes(search, start, report);
  const bool runs = search.calibration() != nullptr;
  const bool propagates = MethodOf(start.recipe).propagate;
  return {PredictResultBytes(report, start.recipe, SourceBytes(start.source.model)),
          runs ? PredictActivationBytes(report.plan, report.tokens, propagates) : 0};
}

Json IdentityOf(const Recipe& recipe, const Source& source, const std::string& sha256,
                const SegmentSearch& search) {
  Json identity = {{"tool", PTQ_VERSION},
                   {"recipe", ToJson(recipe)},
                   {"verify", recipe.verify},
                   {"source", SourceFiles(source.model, sha256)},
                   {"samples", search.Provenance()}};
  for (const Rule& rule : recipe.fallback) identity["fallback"].push_back(ToJson(rule));
  return identity;
}

}  // namespace ptq
