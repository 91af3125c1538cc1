// Looks for the sample of which a row of token ids is the beginning.
#include "ptq/calibrate/pair_types.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

namespace ptq {
namespace {

using TypesByIds = std::map<std::vector<int64_t>, std::vector<int64_t>>;

size_t EqualBeginning(const std::vector<int64_t>& a, const std::vector<int64_t>& b) {
  return size_t(std::ranges::mismatch(a, b).in1 - a.begin());
}

/// Sorted rows: the one with the longest equal beginning is a neighbour.
std::vector<int64_t> TypesOf(const TypesByIds& known, const std::vector<int64_t>& row) {
  std::vector<int64_t> types(row.size(), 0);
  auto best = known.lower_bound(row);
  const bool last = best == known.end();
  if (best != known.begin()) {
    const auto before = std::prev(best);
    if (last || EqualBeginning(before->first, row) > EqualBeginning(best->first, row)) {
      best = before;
    }
  }
  const size_t equal = EqualBeginning(best->first, row);
  std::copy_n(best->second.begin(), std::min(equal, best->second.size()), types.begin());
  return types;
}

std::string TypesInput(const Graph& graph) {
  for (const ValueId id : graph.graph_inputs()) {
    const std::string& name = graph.value(id).name;
    for (const char* word : {"token_type_ids", "segment_ids"}) {
      if (name.find(word) != std::string::npos) return name;
    }
  }
  return "";
}

}  // namespace

InputSource WithPairTypes(InputSource source, const Graph& graph, const CalibrationSet& samples) {
  const std::string name = TypesInput(graph);
  if (name.empty() || samples.types.empty()) return source;
  const auto known = std::make_shared<TypesByIds>();
  for (size_t i = 0; i < samples.ids.size(); ++i) (*known)[samples.ids[i]] = samples.types[i];
  return [source = std::move(source), name, known](const std::vector<int64_t>& ids, int64_t batch,
                                                   int64_t length) {
    auto inputs = source ? source(ids, batch, length) : std::map<std::string, Tensor>();
    std::vector<int64_t> types;
    for (int64_t b = 0; b < batch; ++b) {
      const auto begin = ids.begin() + b * length;
      const auto row = TypesOf(*known, {begin, begin + length});
      types.insert(types.end(), row.begin(), row.end());
    }
    inputs[name] = Tensor::From<int64_t>({batch, length}, types);
    return inputs;
  };
}

}  // namespace ptq
