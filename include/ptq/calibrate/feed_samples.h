// Complete inputs that the user gives: what no text can be turned into.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "ptq/model/graph.h"
#include "ptq/runtime/feeds.h"
#include "ptq/text/calibration.h"

namespace ptq {

/// Arrays of an .npz by input name, [N, …] each: row i of all of them is sample i. An array of an
/// input whose first dimension the model declares as 1, or that has none, is shared by all samples.
class FeedSamples {
 public:
  /// Nothing when the file is no .npz, or holds token ids only. Throws InputError when the arrays
  /// have different numbers of rows, but for those of one row or of no dimension.
  [[nodiscard]] static std::optional<FeedSamples> Read(const std::filesystem::path& file);

  /// Whether an array is one that no model makes from token ids and that `graph` reads. Throws
  /// InputError for one of a single row where the input has a row for each sample.
  [[nodiscard]] bool Feed(const Graph& graph) const;
  [[nodiscard]] bool Has(const std::string& name) const { return arrays_.contains(name); }
  [[nodiscard]] int64_t count() const { return count_; }
  /// Stand-ins for token ids: sample i is its number, as often as it should count in tokens.
  [[nodiscard]] CalibrationSet Samples(const CalibrationOptions& options) const;
  /// Rows of every array for ids made by Samples.
  [[nodiscard]] std::map<std::string, Tensor> Rows(const std::vector<int64_t>& ids, int64_t batch,
                                                   int64_t length) const;

 private:
  [[nodiscard]] bool IsShared(const Tensor& array) const;
  void CheckRows(const Graph& graph, ValueId input) const;

  std::string name_;  ///< of the file, for messages
  std::map<std::string, Tensor> arrays_;
  int64_t count_ = 0;
};

}  // namespace ptq
