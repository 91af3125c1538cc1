// The output directory's model: the source's graph edited in place, weights appended as they come.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "ptq/emit/file_sizes.h"
#include "ptq/emit/layout.h"
#include "ptq/emit/linear_form.h"
#include "ptq/emit/table_form.h"
#include "ptq/plan/plan.h"
#include "ptq/quant/spec.h"

namespace ptq {

/// Collects edits of a copy of the source's ModelProto and streams tensors to its data file.
/// Nodes, attributes and fields that this build does not know survive. Graph inputs and outputs
/// keep their names, types and order. Not thread-safe; call in graph order.
class OutputModel {
 public:
  /// Throws UnsupportedError when a form of the plan cannot stand in this model (opset, IR), and
  /// says why.
  OutputModel(const Graph& graph, const Plan& plan, std::filesystem::path directory,
              const OutputFiles& files);
  ~OutputModel();
  /// One that writes nothing, and reads no weights: the same calls, with codes of which only the
  /// specification and the shape are looked at, tell what they would throw, and Measure the sizes.
  /// `equal_codes`: as FirstWithEqualCodes tells.
  [[nodiscard]] static OutputModel Draft(const Graph& graph, const Plan& plan,
                                         const OutputFiles& files, std::vector<int> equal_codes);

  /// Makes the graph compute x / s where the site's linears read x, by the site's fold. For
  /// Fold::Kind::kLinearRows only the bias is divided here: the rows' factor is in the codes'
  /// scales that the caller hands to Quantize.
  void ScaleSite(const Site& site, std::span<const float> scale);
  /// Adds a vector [N] to a linear's outputs: to the bias that it has, or as one of its own. Behind
  /// ScaleSite, in front of Quantize.
  void AddBias(const Linear& linear, std::span<const float> bias);
  /// Replaces a linear's node; appends codes, scales and zero points to the data file.
  /// Returns the bytes written. `levels`: of activations where they are found beforehand.
  int64_t Quantize(const Linear& linear, const QuantizedMatrix& q,
                   std::optional<ActivationLevels> levels = {});
  /// What Quantize has made the outputs of products too large by since the last call, [N] in the
  /// source's coordinates: it rounds what is added to them.
  [[nodiscard]] std::map<ValueId, std::vector<float>> TakeAddendErrors();
  /// Whether codes of experts wait for the others of their node: these are not durable yet.
  [[nodiscard]] bool HoldsExperts() const;
  /// Replaces a table's lookups, and the nodes of the linears that read its codes; appends codes,
  /// which `rows` gives, scales and zero points to the data file. In front of ScaleSite. Returns
  /// the bytes written.
  int64_t QuantizeTable(const Table& table, const TableRows& rows);
  /// Has the convolutions read floats made of codes; appends codes and scales to the data file.
  void QuantizeFilters(const Constant& filters, const QuantizedMatrix& q);
  /// Of a linear that is quantized already, where its form has levels.
  void SetAccuracyLevel(const Linear& linear, int level);
  /// Stores a float32 weight as FP16 and casts it back where it is used. Returns its new bytes.
  int64_t StoreAsHalf(const Linear& linear);
  /// What was done since the last call, durable in the data file and complete for Replay. Holds
  /// binary values.
  [[nodiscard]] nlohmann::json TakeEdits();
  /// Does again what TakeEdits returned, without the weights: `scaled` are the sites that were
  /// scaled in between, `biases` what was added to linears (indices into Plan::linears). Called for
  /// each record in order, then Continue once. Throws InputError.
  void Replay(const nlohmann::json& edits,
              std::span<const std::pair<Site, std::vector<float>>> scaled,
              std::span<const std::pair<int, std::vector<float>>> biases);
  void Continue();
  /// Entry of the model's metadata_props.
  void SetMetadata(const std::string& key, const std::string& value);
  /// Drops what became unused, copies the remaining tensors, writes the model file. Call once,
  /// last.
  void Finish();
  /// Of a draft, in the place of Finish.
  [[nodiscard]] FileSizes Measure();

 private:
  struct State;
  explicit OutputModel(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace ptq
