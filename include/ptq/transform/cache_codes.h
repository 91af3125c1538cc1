// Has a model keep codes of past keys and values instead of floats.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ptq/transform/transform.h"

namespace ptq {

/// Gives every com.microsoft GroupQueryAttention of the plan's caches its scales and the attributes
/// that go with them, and declares the model's inputs and outputs as int8
/// [batch, heads, tokens, head_size], or as uint8 [batch, heads, tokens, head_size / 2] with two
/// 4-bit codes in a byte. Of caches that the graph concatenates ConcatCacheCodes does the first.
class CacheCodesPass : public Transform {
 public:
  CacheCodesPass(OutputGraph& graph, const TransformRequest& request)
      : graph_(graph), plan_(request.plan) {}

  [[nodiscard]] std::string_view name() const override { return "cache codes"; }
  [[nodiscard]] TransformStage stage() const override { return TransformStage::kCommitted; }
  [[nodiscard]] std::string Plan() const override;
  void Apply() override;

 private:
  [[nodiscard]] std::vector<float> ScalesOf(const Cache& cache) const;
  void GiveAttention(const Cache& cache, onnx::NodeProto& attention);
  void Declare(ValueId id, int64_t head_size);

  OutputGraph& graph_;
  const ptq::Plan* plan_;
  bool applied_ = false;
};

}  // namespace ptq
