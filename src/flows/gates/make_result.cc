// Chooses the road for a source and a destination, and travels it again while gates fail.
#include "ptq/flows/make_result.h"

#include <algorithm>

#include "gates.h"
#include <spdlog/spdlog.h>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/hash.h"
#include "ptq/base/json.h"
#include "ptq/base/progress.h"
#include "ptq/emit/metadata.h"
#include "ptq/emit/sidecars.h"
#include "ptq/flows/evaluation.h"
#include "ptq/flows/gate_failed.h"
#include "ptq/pipeline/default_destination.h"
#include "ptq/pipeline/interrupted_fallback.h"
#include "ptq/pipeline/single_file.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// The tokenizer beside the source: a result of one file has none.
fs::path TokenizerOf(const Recipe& recipe) {
  if (!recipe.tokenizer.empty()) return recipe.tokenizer;
  std::error_code error;
  const bool directory = fs::is_directory(recipe.source, error);
  const fs::path own =
      SidecarDirectory(directory ? recipe.source : fs::absolute(recipe.source).parent_path());
  return fs::exists(own / "tokenizer.json", error) ? own : fs::path();
}

/// Judges one attempt after the other.
class Judge {
 public:
  explicit Judge(const Recipe& recipe) : recipe_(recipe) {}

  /// What was measured, when the result keeps all gates. Throws GateFailed.
  GateReport operator()(const fs::path& result, const Json& metadata) {
    const Progress progress("measuring gates");
    EvaluationRequest request;
    request.source = result;
    request.reference = recipe_.source;
    request.text = recipe_.gate_text;
    request.tokenizer = TokenizerOf(recipe_);
    request.memory_budget = recipe_.memory_budget;
    GateReport report;
    report.results = CompareGates(recipe_.gates, FiguresOf(EvaluateModel(request)));
    report.attempts = ++attempts_;
    report.text_file = recipe_.gate_text.filename().string();
    report.text_sha256 = Sha256OfFile(recipe_.gate_text);
    report.fallback = DescribeFallback(recipe_.fallback, metadata, first_);
    if (std::ranges::all_of(report.results, &GateResult::passed)) return report;
    const std::string text = FailureText(report.results);  // before the report is moved
    throw GateFailed(text, std::move(report), metadata);
  }

  /// What the first attempt was, when it had no fallback.
  void Remember(const Json& metadata) {
    if (first_.is_null() && recipe_.fallback.empty()) first_ = metadata;
  }

 private:
  const Recipe& recipe_;
  int64_t attempts_ = 0;
  Json first_;
};

MadeResult MakeOnce(const Recipe& recipe, const RunOptions& options, Ranks& ranks) {
  if (IsOfSeveral(recipe)) return RunDirectory(recipe, options);
  return IsSingleFile(recipe.destination) ? RunToFile(recipe, options, ranks)
                                          : Run(recipe, options, ranks);
}

std::string CountText(const std::vector<Rule>& fallback) {
  int64_t halves = 0;
  for (const Rule& rule : fallback) halves += rule.form.empty() ? 0 : 1;
  const int64_t eights = std::ssize(fallback) - halves;
  std::string text;
  if (eights > 0) text = std::to_string(eights) + " tensors get 8 bits";
  if (halves > 0) {
    text += (text.empty() ? "" : ", ") + std::to_string(halves) + " tensors get FP16";
  }
  return text;
}

MadeResult MakeGated(Recipe recipe, RunOptions options, Ranks& ranks) {
  if (ranks.size() > 1) throw UsageError("gates are measured by one rank; leave out mpirun");
  CheckGates(recipe);
  if (!options.restart) recipe.fallback = FallbackOfInterrupted(recipe);
  Judge judge(recipe);
  options.judge = [&](const fs::path& result, const Json& metadata) {
    return judge(result, metadata);
  };
  for (;;) {
    try {
      return MakeOnce(recipe, options, ranks);
    } catch (const GateFailed& failed) {
      const std::string what = failed.what();
      const auto end = [&](const std::string& why) {
        return GateFailed(what + why, failed.report(), failed.metadata());
      };
      if (recipe.no_fallback) throw end("; nothing is written (--no-fallback)");
      judge.Remember(failed.metadata());
      recipe.fallback =
          WidenFallback(failed.metadata(), recipe, PartThatMayStay(failed.report().results));
      if (recipe.fallback.empty()) {
        throw end(
            ", with every tensor in FP16; nothing is written: the gate asks for more than the "
            "source gives, or other things are changed");
      }
      spdlog::warn(what + "; once more: " + CountText(recipe.fallback));
    }
  }
}

}  // namespace

bool IsOfSeveral(const Recipe& recipe) { return ModelFiles(recipe.source).files.size() > 1; }

void SettlePaths(Recipe& recipe, const Ranks& ranks) {
  if (!IsOfSeveral(recipe)) {
    // A package's only model is still written where the package says.
    if (recipe.destination.empty()) recipe.destination = DefaultDestination(recipe);
    recipe.source = ModelFiles(recipe.source).files.front();
    return;
  }
  if (IsSingleFile(recipe.destination)) {
    throw UsageError("'" + recipe.source.string() + "' holds several models, and '" +
                     recipe.destination.string() +
                     "' is one file; give a directory as --dst, or one of the models");
  }
  if (ranks.size() > 1) {
    throw UsageError("several ranks share the work of one model; give one of the files in '" +
                     recipe.source.string() + "'");
  }
}

MadeResult MakeResult(Recipe recipe, const RunOptions& options, Ranks& ranks) {
  SettlePaths(recipe, ranks);
  return recipe.gates.empty() ? MakeOnce(recipe, options, ranks)
                              : MakeGated(std::move(recipe), options, ranks);
}

Json ReadMetadata(const fs::path& destination) {
  return ParseJson<Json>(ReadTextFile(IsSingleFile(destination) ? MetadataOfSingleFile(destination)
                                                                : destination / kMetadataFileName));
}

}  // namespace ptq
