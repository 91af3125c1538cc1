// The models of a directory, and what each of them becomes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "destination/disk_space.h"
#include "run_context.h"
#include <nlohmann/json.hpp>

#include "ptq/calibrate/companions.h"
#include "ptq/emit/layout.h"
#include "ptq/pipeline/file_bytes.h"
#include "ptq/pipeline/run.h"
#include "ptq/plan/recipe.h"
#include "ptq/search/common_weights.h"

namespace ptq {

/// Each is planned when this is made; they are quantized one by one.
class DirectoryModels {
 public:
  /// `common`: a directory for what models share, which is not needed for plans. Throws UsageError
  /// for a pattern that matches nothing in any model, and for what is of one model only. The recipe
  /// outlives this.
  DirectoryModels(const Recipe& recipe, const std::filesystem::path& common);

  [[nodiscard]] size_t size() const { return plans_.size(); }
  [[nodiscard]] Companions& companions() { return companions_; }
  [[nodiscard]] const std::filesystem::path& root() const { return root_; }
  /// Below the root.
  [[nodiscard]] std::filesystem::path NameOf(size_t model) const;
  /// Where a finished model lies in the result.
  [[nodiscard]] OutputFiles FilesFor(size_t model, bool copied);

  /// Finds, before any work, which models cannot be calibrated, and why. Throws when what the user
  /// gives to calibrate with serves none.
  void FindObstacles();
  /// Why a model is rounded to nearest; empty when it is not.
  [[nodiscard]] const std::string& obstacle(size_t model) const { return obstacles_[model]; }

  /// The plan of a model, as Quantize would come to it; one that would be copied has no linears.
  [[nodiscard]] RunReport Rehearse(size_t model, const std::filesystem::path& destination);
  /// All results; what samples need in between is checked model by model.
  [[nodiscard]] DiskNeed Need();
  /// What decides the result, but for what each model's checkpoints know.
  [[nodiscard]] nlohmann::ordered_json Identity();

  /// Writes a model, complete, to a directory of its own. One that is refused on the way is rounded
  /// to nearest, and copied when that is refused, too: it does not take the others with it. Returns
  /// the predicted peak, in bytes.
  int64_t Quantize(size_t model, const std::filesystem::path& destination,
                   const RunOptions& options);
  /// Where the bytes of a finished model are, which are `written` in all.
  [[nodiscard]] FileBytes BytesFor(size_t model, int64_t written);

 private:
  void AddPlan(size_t model);
  /// Makes a context one of this directory's.
  void AddNames(size_t model, RunContext& context) const;
  /// Throws UsageError for a rule that matches nothing in any model.
  void CheckRules() const;
  [[nodiscard]] RunContext ContextFor(size_t model);
  /// The folder of a model and its data in the result.
  [[nodiscard]] std::filesystem::path FolderFor(size_t model) const;
  /// Does a model's work with what it takes: as asked, else rounded to nearest (`again`). Whether
  /// it takes either; if not, it is to be copied.
  bool Attempt(size_t model, const std::function<void(bool again)>& work);
  int64_t Travel(size_t model, const std::filesystem::path& destination, const RunOptions& options,
                 bool again);
  void Copy(size_t model, const std::filesystem::path& directory);

  const Recipe& recipe_;
  Companions companions_;
  CommonWeights common_;
  std::vector<RunReport> plans_;
  std::vector<std::string> unchanged_;  ///< why a model is copied as it is
  std::vector<std::string> obstacles_;  ///< why a model is rounded to nearest
  std::filesystem::path root_;
  std::vector<std::string> names_;  ///< what rules call the models
};

}  // namespace ptq
