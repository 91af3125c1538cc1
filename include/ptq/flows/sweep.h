// One model quantized with every combination of some settings, and measured: what quality costs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "ptq/evaluate/figures.h"
#include "ptq/plan/recipe.h"

namespace ptq {

/// One combination.
struct SweepPoint {
  std::string id;  ///< of its result: a directory in that of the sweep
  std::vector<std::pair<std::string, std::string>>
      settings;  ///< "bits" -> "3", in the grid's order
  Recipe recipe;
};

/// Which results stay.
enum class SweepKeep {
  kPareto,  ///< those that no other beats in size and quality
  kAll,
  kBest,  ///< the one that is picked
};

struct SweepRequest {
  std::filesystem::path source;
  std::filesystem::path directory;  ///< of the results
  std::vector<SweepPoint> points;
  std::filesystem::path text;         ///< held out, to measure on; empty: losses are compared
  std::optional<int64_t> best_under;  ///< bytes of the result that is picked, at most
  SweepKeep keep = SweepKeep::kPareto;
  bool force = false;  ///< points are done again
};

/// What became of a point.
// NOLINTNEXTLINE(bugprone-exception-escape): moving JSON does not throw
struct SweepResult {
  std::string id;
  std::vector<std::pair<std::string, std::string>> settings;
  std::string error;            ///< why there is no result; empty: there is one
  int64_t bytes = 0;            ///< of the model's files
  double relative_loss = 0;     ///< mean over the linears, of their output energy
  std::vector<Figure> figures;  ///< measured on the text
  double seconds = 0;           ///< of quantizing
  bool earlier = false;         ///< it was there already
  bool pareto = false;
  bool kept = false;  ///< its files are there

  /// The figure that tells quality: the first that compares with the source; null without any.
  [[nodiscard]] const Figure* Telling() const;
  /// Its value, negative where more is better, or the loss where there is none: less is better.
  [[nodiscard]] double Badness() const;
};

struct SweepReport {
  std::filesystem::path directory;
  std::string quality;  ///< name of the figure: "kl", "cosine", "relative_loss"
  std::vector<SweepResult> results;
  std::optional<size_t> best;  ///< the best of those that are small enough; none may be
  double seconds = 0;
};

/// Marks the points that no other beats: none is as small and as good, and better in one.
void MarkPareto(std::vector<SweepResult>& results);

/// Quantizes and measures every point that is not there from an earlier call with the same source,
/// recipe and text; notes each one in the directory's sweep.json, so that an interrupted sweep goes
/// on. Statistics that several points share are collected once. A point that cannot be made is
/// noted with its error. Throws UsageError for two points of one id, and what stops all points.
[[nodiscard]] SweepReport RunSweep(const SweepRequest& request);

}  // namespace ptq
