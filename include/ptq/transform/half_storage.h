// Stores float32 constants as FP16 and casts them back where they are used.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "ptq/model/graph.h"
#include "ptq/transform/transform.h"

namespace ptq {

/// The Cast stands behind operators that only move elements (Gather, Transpose, Reshape …), so that
/// a lookup converts the rows it takes, not the table, and one stored tensor serves every user.
class HalfStorage : public Transform {
 public:
  HalfStorage(OutputGraph& graph, const TransformRequest& request)
      : graph_(graph), halves_(request.halves) {}

  /// Bytes of the stored constant, written once however often it is asked for. Nothing when an
  /// element is not finite or beyond ±65504: then the constant stays as it is, and a warning says
  /// so.
  std::optional<int64_t> Store(ValueId constant);
  /// Constants that exist only as FP16 now; their old names belong to Casts.
  [[nodiscard]] bool Stored(const std::string& name) const { return replaced_.contains(name); }

  [[nodiscard]] std::string_view name() const override { return "half storage"; }
  [[nodiscard]] TransformStage stage() const override { return TransformStage::kEdited; }
  [[nodiscard]] std::string Plan() const override;
  /// Stores those of the request that are still read.
  void Apply() override;

 private:
  /// `drop` lets go what was read of the values.
  std::string StoreElements(const std::string& name, const Tensor& values,
                            const std::function<void()>& drop);
  void Spread(ValueId value, const std::string& half_name);

  OutputGraph& graph_;
  const std::vector<ValueId> halves_;
  std::map<ValueId, std::optional<int64_t>> known_;
  std::unordered_set<std::string> replaced_;
};

}  // namespace ptq
