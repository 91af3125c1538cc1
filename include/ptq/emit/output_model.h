// The output directory's model: the source's graph edited in place, weights appended as they come.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "ptq/emit/layout.h"
#include "ptq/emit/linear_format.h"
#include "ptq/plan/plan.h"
#include "ptq/quant/spec.h"

namespace ptq {

struct EmitOptions {
  std::string format = "matmulnbits";  ///< a name of LinearFormats()
  int accuracy_level = 4;
  /// Stores every other float32 initializer as FP16 with a Cast behind it (--float fp16).
  bool half_floats = false;
  OutputFiles files = {};
};

/// Collects edits of a copy of the source's ModelProto and streams tensors to its data file.
/// Nodes, attributes and fields that this build does not know survive. Graph inputs and outputs
/// keep their names, types and order. Not thread-safe; call in graph order.
class OutputModel {
 public:
  /// Throws UnsupportedError when the format cannot express this model (opset, IR) and says why.
  OutputModel(const Graph& graph, const Plan& plan, std::filesystem::path directory,
              const EmitOptions& options);
  ~OutputModel();

  /// Makes the graph compute x / s where the site's linears read x, by the site's fold. For
  /// Fold::Kind::kLinearRows only the bias is divided here: the rows' factor is in the codes'
  /// scales that the caller hands to Quantize.
  void ScaleSite(const Site& site, std::span<const float> scale);
  /// Adds a vector [N] to a linear's outputs: to the bias that it has, or as one of its own. Behind
  /// ScaleSite, in front of Quantize.
  void AddBias(const Linear& linear, std::span<const float> bias);
  /// Replaces a linear's node; appends codes, scales and zero points to the data file.
  /// Returns the bytes written.
  int64_t Quantize(const Linear& linear, const QuantizedMatrix& q);
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

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ptq
