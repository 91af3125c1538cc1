// Adds the nodes around a Concat, and moves scales to the other side of products.
#include "ptq/transform/concat_cache_codes.h"

#include <algorithm>

#include "ptq/base/error.h"
#include "ptq/model/graph_walk.h"
#include "ptq/model/node_builder.h"
#include "ptq/transform/align_models.h"

namespace ptq {
namespace {

void ReplaceInput(onnx::NodeProto& node, const std::string& from, const std::string& to) {
  for (std::string& name : *node.mutable_input()) {
    if (name == from) name = to;
  }
}

std::vector<int64_t> PermOf(const onnx::NodeProto& transpose) {
  const onnx::AttributeProto* const perm = FindAttribute(transpose, "perm");
  if (perm == nullptr) throw InternalError("'" + transpose.name() + "' has no perm");
  return {perm->ints().begin(), perm->ints().end()};
}

}  // namespace

ConcatCacheCodes::ConcatCacheCodes(OutputGraph& graph) : graph_(graph) {
  ForEachGraph(*graph_.model.mutable_graph(), [&](onnx::GraphProto& inner) {
    for (auto& node : *inner.mutable_node()) {
      for (const std::string& output : node.output()) places_[output] = {&inner, &node};
    }
  });
}

ConcatCacheCodes::Place ConcatCacheCodes::PlaceOf(int node) const {
  const std::string& output = graph_.source.nodes()[size_t(node)].output(0);
  const auto found = places_.find(output);
  if (found == places_.end()) throw InternalError("who makes '" + output + "' is gone");
  return found->second;
}

onnx::NodeProto& ConcatCacheCodes::AddNode(Place place, const std::string& type,
                                           const std::string& cache,
                                           const std::vector<std::string>& inputs,
                                           const std::string& output) {
  changed_.insert(place.graph);
  onnx::NodeProto& node = *place.graph->add_node();
  node = MakeNode(type, graph_.store.UniqueName(cache + "/" + type), inputs, output);
  return node;
}

std::string ConcatCacheCodes::AddConstant(const std::string& name, const Shape& shape,
                                          const std::vector<float>& values) const {
  const Tensor stored = Tensor::From<float>(shape, values).Cast(type_);
  return graph_.store.Add(name, type_, shape, stored.bytes());
}

std::string ConcatCacheCodes::StoreScales(const Cache& cache, std::span<const float> scales,
                                          Shape by_head, int64_t repeats) const {
  std::vector<float> values;
  if (scales.size() == 1) {
    by_head = {cache.head_size};
    values.assign(size_t(cache.head_size), scales[0]);
  } else {
    by_head.erase(by_head.begin(), std::ranges::find_if(by_head, [](int64_t n) { return n != 1; }));
    for (int64_t head = 0; head < cache.heads; ++head) {
      const auto own = scales.subspan(size_t(head * cache.head_size), size_t(cache.head_size));
      for (int64_t i = 0; i < repeats; ++i) values.insert(values.end(), own.begin(), own.end());
    }
  }
  return AddConstant(cache.name + "_scale", by_head, values);
}

void ConcatCacheCodes::QuantizeRows(const CacheRows& rows, const std::string& scale,
                                    const std::string& cache) {
  const Place place = PlaceOf(rows.node);
  const std::string& present = graph_.source.value(rows.present).name;
  const auto unique = [&](const char* what) { return graph_.store.UniqueName(cache + what); };
  std::string floats = graph_.source.value(rows.rows).name;
  std::string codes = present;
  if (rows.concatenated) {
    codes = unique("_codes");
    place.node->set_input(1, codes);
  } else {
    floats = unique("_rows");
    for (std::string& output : *place.node->mutable_output()) {
      if (output == present) output = floats;
    }
  }
  const std::string steps = unique("_steps"), rounded = unique("_rounded");
  const std::string clipped = unique("_clipped");
  AddNode(place, "Div", cache, {floats, scale}, steps);
  AddNode(place, "Round", cache, {steps}, rounded);
  const std::string least = AddConstant(cache + "_least", {}, {-128.0F});
  const std::string most = AddConstant(cache + "_most", {}, {127.0F});
  AddNode(place, "Clip", cache, {rounded, least, most}, clipped);
  SetInt(AddNode(place, "Cast", cache, {clipped}, codes), "to", onnx::TensorProto::INT8);
}

void ConcatCacheCodes::ReadFloats(const CacheRows& rows, const std::string& cache) {
  const Place place = PlaceOf(rows.node);
  const std::string& present = graph_.source.value(rows.present).name;
  const std::string floats = graph_.store.UniqueName(cache + "_floats");
  SetInt(AddNode(place, "Cast", cache, {present}, floats), "to", int64_t(type_));
  for (const Use& use : rows.readers) ReplaceInput(*PlaceOf(use.node).node, present, floats);
  if (rows.twins.empty()) return;
  const std::vector<int64_t> own = PermOf(*place.node);
  for (const int twin : rows.twins) {
    onnx::NodeProto& transpose = *PlaceOf(twin).node;
    std::vector<int64_t> perm = PermOf(transpose);  // of what both have read; now of the rows
    for (int64_t& axis : perm) axis = std::ranges::find(own, axis) - own.begin();
    RemoveAttribute(transpose, "perm");
    SetInts(transpose, "perm", perm);
    transpose.set_input(0, floats);
  }
}

void ConcatCacheCodes::ScaleProduct(const CacheProduct& product, bool keys,
                                    const std::string& scale) {
  const Place place = PlaceOf(product.node);
  const std::string name = place.node->output(0);
  const std::string bare = graph_.store.UniqueName(name + (keys ? "_queries" : "_steps"));
  if (keys) {
    AddNode(place, "Mul", name, {place.node->input(0), scale}, bare);
    place.node->set_input(0, bare);
    return;
  }
  place.node->set_output(0, bare);
  AddNode(place, "Mul", name, {bare, scale}, name);
}

void ConcatCacheCodes::Write(const Cache& cache, std::span<const float> scales) {
  type_ = graph_.source.DeclaredType(cache.past).dtype;
  const std::string own = StoreScales(cache, scales, {cache.heads, 1, cache.head_size}, 1);
  for (const CacheRows& rows : cache.rows) {
    QuantizeRows(rows, own, cache.name);
    ReadFloats(rows, cache.name);
    for (const CacheProduct& product : rows.products) {
      ScaleProduct(product, cache.keys,
                   StoreScales(cache, scales, product.by_head, product.repeats));
    }
  }
}

void ConcatCacheCodes::Finish() {
  for (onnx::GraphProto* const graph : changed_) SortNodes(*graph);
  changed_.clear();
  places_.clear();
}

}  // namespace ptq
