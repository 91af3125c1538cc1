// Stores float32 constants as FP16 and casts them back where they are used.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <unordered_set>

#include "graph_editor.h"
#include "tensor_store.h"

#include "ptq/model/graph.h"

namespace ptq {

/// The Cast stands behind operators that only move elements (Gather, Transpose, Reshape …), so that
/// a lookup converts the rows it takes, not the table, and one stored tensor serves every user.
class HalfStorage {
 public:
  HalfStorage(const Graph& graph, GraphEditor& editor, TensorStore& store)
      : graph_(graph), editor_(editor), store_(store) {}

  /// Bytes of the stored constant, written once however often it is asked for. Nothing when an
  /// element is not finite or beyond ±65504: then the constant stays as it is, and a warning says
  /// so.
  std::optional<int64_t> Store(ValueId constant);
  /// Whether converting a constant keeps the model valid: some operators (quantized ones, Resize)
  /// need their constants in place.
  [[nodiscard]] bool CanStore(ValueId constant) const;
  /// Constants that exist only as FP16 now; their old names belong to Casts.
  [[nodiscard]] bool Stored(const std::string& name) const { return replaced_.contains(name); }

 private:
  /// `drop` lets go what was read of the values.
  std::string StoreElements(const std::string& name, const Tensor& values,
                            const std::function<void()>& drop);
  void Spread(ValueId value, const std::string& half_name);

  const Graph& graph_;
  GraphEditor& editor_;
  TensorStore& store_;
  std::map<ValueId, std::optional<int64_t>> known_;
  std::unordered_set<std::string> replaced_;
};

}  // namespace ptq
