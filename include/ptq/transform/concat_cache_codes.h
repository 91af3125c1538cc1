// Has a graph keep codes of the rows that it puts behind past keys and values.
#pragma once

#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "ptq/transform/transform.h"

namespace ptq {

/// For caches that the graph concatenates (Cache::rows): new rows become int8 codes, Div by the
/// scales, Round, Clip and Cast, which go behind the past codes; a Cast in front of who reads the
/// cache makes floats of them, and the scales come to the other side of the products: to queries,
/// or to what probabilities make of values. That is exact, and touches no past row. Scales are
/// stored as vectors also where all are the same: ONNX Runtime (1.32) makes one slower node of a
/// product and a factor that is a single number.
class ConcatCacheCodes {
 public:
  /// The output's nodes are all in their graphs.
  explicit ConcatCacheCodes(OutputGraph& graph);

  /// `scales`: one, or [heads · head_size].
  void Write(const Cache& cache, std::span<const float> scales);
  /// Puts the nodes into an order in which they can run.
  void Finish();

 private:
  struct Place {
    onnx::GraphProto* graph = nullptr;
    onnx::NodeProto* node = nullptr;
  };
  /// What the node of the source has become.
  [[nodiscard]] Place PlaceOf(int node) const;
  onnx::NodeProto& AddNode(Place place, const std::string& type, const std::string& cache,
                           const std::vector<std::string>& inputs, const std::string& output);
  std::string AddConstant(const std::string& name, const Shape& shape,
                          const std::vector<float>& values) const;
  /// As the other side of a product takes them: in the shape `by_head`, each head `repeats` times.
  std::string StoreScales(const Cache& cache, std::span<const float> scales, Shape by_head,
                          int64_t repeats) const;
  /// Codes of new rows; where there is no past these are the present ones.
  void QuantizeRows(const CacheRows& rows, const std::string& scale, const std::string& cache);
  /// Readers take floats in the unit of the scales.
  void ReadFloats(const CacheRows& rows, const std::string& cache);
  void ScaleProduct(const CacheProduct& product, bool keys, const std::string& scale);

  OutputGraph& graph_;
  std::unordered_map<std::string, Place> places_;  ///< by each output
  std::set<onnx::GraphProto*> changed_;
  DType type_ = DType::kFloat32;  ///< of the floats of the cache at hand
};

}  // namespace ptq
