// Weights that several models of a directory hold alike get the same codes and scales in all.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "ptq/calibrate/source.h"
#include "ptq/plan/outcome.h"
#include "ptq/plan/plan.h"
#include "ptq/quant/spec.h"

namespace ptq {

/// Weights with the same bytes, layout and specification are quantized in the first model that has
/// them, with its statistics; the others take over what is kept in files meanwhile. Where all
/// linears of a site are the same in each of these models, so is the site's scale; other sites of
/// common weights are not scaled.
class CommonWeights {
 public:
  /// `directory` holds the files; it exists, and they outlive this.
  explicit CommonWeights(std::filesystem::path directory) : directory_(std::move(directory)) {}

  /// Adds a model and its plan. All are added before the first is quantized.
  void Add(const Source& source, const Plan& plan);
  /// Forbids scaling where the models would get different scales.
  void Restrict(size_t model, Plan& plan) const;

  /// What was found for a set of linears of one site; all of them or none are in a record.
  struct Record {
    Site site;                 ///< with the fold that is used
    std::vector<float> scale;  ///< empty when the site is not scaled
    std::vector<std::shared_ptr<const QuantizedMatrix>> matrices;
    std::vector<Outcome> outcomes;
  };
  /// Linears of a site (indices into the plan): sets that are kept or taken over together, and
  /// those that only this model has.
  struct Parts {
    std::vector<std::vector<int>> common;
    std::vector<int> own;
  };
  [[nodiscard]] Parts Divide(size_t model, const std::vector<int>& linears) const;
  [[nodiscard]] std::optional<Record> Find(size_t model, const Plan& plan,
                                           const std::vector<int>& linears) const;
  void Keep(size_t model, const std::vector<int>& linears, const Record& record) const;
  /// Whether all linears of a site are there to be taken over from other models.
  [[nodiscard]] bool Has(size_t model, const Plan& plan, const Site& site) const;

 private:
  struct Occurrence {
    size_t model;
    int linear;
    std::string site;  ///< what decides the scale of its site; empty when it has none
  };
  [[nodiscard]] bool IsCommon(const std::string& key) const;
  [[nodiscard]] bool ScalesAlike(const std::string& key) const;
  /// Of what `owner` has kept, for linears of `model`.
  [[nodiscard]] std::filesystem::path FileOf(size_t owner, size_t model,
                                             const std::vector<int>& linears) const;
  /// Nothing when no other model has kept them.
  [[nodiscard]] std::optional<std::filesystem::path> FileOfOthers(
      size_t model, const std::vector<int>& linears) const;

  std::filesystem::path directory_;
  std::vector<std::vector<std::string>> keys_;  ///< of each model's linears
  std::map<std::string, std::vector<Occurrence>> occurrences_;
};

/// A model among others of its directory, as these know it.
struct OneOfSeveral {
  const CommonWeights* common = nullptr;  ///< null when it is alone
  size_t model = 0;                       ///< its index there
};

}  // namespace ptq
