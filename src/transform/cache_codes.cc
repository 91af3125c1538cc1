// Adds scales and attributes to attentions, and changes what the model declares of its caches.
#include "ptq/transform/cache_codes.h"

#include <unordered_map>
#include <vector>

#include "ptq/base/error.h"
#include "ptq/model/graph_walk.h"
#include "ptq/model/node_builder.h"
#include "ptq/transform/concat_cache_codes.h"

namespace ptq {
namespace {

constexpr int kKeyScale = 12;  ///< inputs of a GroupQueryAttention

void SetScale(onnx::NodeProto& attention, int input, const std::string& name) {
  while (attention.input_size() <= input) attention.add_input("");
  attention.set_input(input, name);
}

}  // namespace

std::string CacheCodesPass::Plan() const {
  if (plan_ == nullptr || !plan_->caches.has_value()) return "";
  return std::to_string(plan_->caches->caches.size()) + " caches become " +
         CodesName(plan_->caches->codes);
}

std::vector<float> CacheCodesPass::ScalesOf(const Cache& cache) const {
  const bool per_channel = plan_->caches->codes.per_channel;
  const int64_t count = per_channel ? cache.heads * cache.head_size : 1;
  std::vector<float> scales = cache.scales;
  if (scales.empty() && graph_.store.measures()) scales.resize(size_t(count));  // of a draft
  if (std::ssize(scales) != count) throw InternalError("'" + cache.name + "' has no scales");
  return scales;
}

/// In all graphs that declare it. Runtimes take the size of a packed head from the declaration, so
/// it must be a number.
void CacheCodesPass::Declare(ValueId id, int64_t head_size) {
  const std::string& name = graph_.source.value(id).name;
  const int bits = plan_->caches->codes.bits;
  ForEachGraph(*graph_.model.mutable_graph(), [&](onnx::GraphProto& graph) {
    ForEachDeclaration(graph, [&](onnx::ValueInfoProto& value) {
      if (value.name() != name) return;
      auto& type = *value.mutable_type()->mutable_tensor_type();
      type.set_elem_type(bits == 4 ? onnx::TensorProto::UINT8 : onnx::TensorProto::INT8);
      if (type.has_shape() && type.shape().dim_size() == 4) {
        type.mutable_shape()->mutable_dim(3)->set_dim_value(head_size * bits / 8);
      }
    });
  });
}

void CacheCodesPass::GiveAttention(const Cache& cache, onnx::NodeProto& attention) {
  const auto& codes = plan_->caches->codes;
  const std::vector<float> scales = ScalesOf(cache);
  SetScale(attention, kKeyScale + (cache.keys ? 0 : 1),
           graph_.store.Add(cache.name + "_scale", DType::kFloat32, {std::ssize(scales)},
                            std::as_bytes(std::span(scales))));
  if (!cache.keys) return;
  // The node may have them from a source that says there is no quantization.
  for (const char* name : {"k_quant_type", "v_quant_type", "kv_cache_bit_width"}) {
    RemoveAttribute(attention, name);
  }
  const std::string type = codes.per_channel ? "PER_CHANNEL" : "PER_TENSOR";
  SetString(attention, "k_quant_type", type);
  SetString(attention, "v_quant_type", type);
  SetInt(attention, "kv_cache_bit_width", codes.bits);
}

void CacheCodesPass::Apply() {
  if (plan_ == nullptr || !plan_->caches.has_value() || applied_) return;
  applied_ = true;
  std::unordered_map<std::string, onnx::NodeProto*> attentions;  // by an output that they give
  for (auto& node : *graph_.model.mutable_graph()->mutable_node()) {
    if (node.op_type() != "GroupQueryAttention") continue;
    for (const std::string& output : node.output()) attentions[output] = &node;
  }
  ConcatCacheCodes concatenated(graph_);
  for (const Cache& cache : plan_->caches->caches) {
    for (const ValueId id : {cache.past, cache.present}) Declare(id, cache.head_size);
    for (const CacheRows& rows : cache.rows) Declare(rows.present, cache.head_size);
    if (!cache.rows.empty()) {
      concatenated.Write(cache, ScalesOf(cache));
      continue;
    }
    const auto found = attentions.find(cache.name);
    if (found == attentions.end()) throw InternalError("'" + cache.name + "' is gone");
    GiveAttention(cache, *found->second);
  }
  concatenated.Finish();
}

}  // namespace ptq
