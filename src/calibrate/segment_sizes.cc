// Adds up linears, sites, tables and experts segment by segment.
#include "segment_sizes.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "ptq/calibrate/memory_plan.h"
#include "ptq/emit/stored_codes.h"
#include "ptq/model/constant_view.h"
#include "ptq/stats/token_sample.h"

namespace ptq {
namespace {

/// Mapped bytes of a large weight that is multiplied as it is stored (runtime/run_once.cc).
constexpr int64_t kStoredWindow = 32 << 20;

/// Whether a row of the weight W[N, K] is stored in one piece, not spread over the whole.
bool RowsLieTogether(const Graph& graph, const Linear& linear) {
  const auto view = ViewConstant(graph, linear.operand);
  if (!view || !view->placement || view->shape.size() < 2) return false;
  const size_t last = view->shape.size() - 1;
  return view->placement->strides[linear.operand_is_nk ? last : last - 1] == 1;
}

/// Bytes of a linear's result before it is packed: a code each, a scale and a zero point a group.
int64_t UnpackedBytes(const Linear& linear) {
  const int64_t groups = linear.n * linear.spec().GroupsFor(linear.k);
  return linear.n * linear.k + groups * int64_t(sizeof(float) + 1);
}

/// What a weight costs while it is searched, and in the verification.
void AddWeight(const Graph& graph, const Linear& linear, SegmentSize& size) {
  const int64_t stored = StoredBytes(graph, linear);
  if (linear.table >= 0) {  // a few rows at a time
    size.kept += std::min(stored, kStoredWindow);
    size.results += linear.decision.bytes;
    return;
  }
  if (linear.decision.quantizes()) {
    size.codes += UnpackedBytes(linear);
    size.searched += stored;
    size.results += linear.decision.bytes;
    size.widest = std::max(size.widest, linear.n * linear.k);
    return;
  }
  const bool in_rows = RowsLieTogether(graph, linear);
  const auto mapped = [&](int64_t bytes) {
    return in_rows ? std::min(bytes, kStoredWindow) : bytes;
  };
  size.kept += mapped(stored);
  size.results += mapped(linear.decision.halves() ? linear.decision.bytes : stored);
}

/// Codes of experts, which are there once more until those of all are packed: from the first to the
/// last segment that has some.
void AddHeld(const Executor& executor, const Plan& plan, std::vector<SegmentSize>& sizes) {
  struct Held {
    size_t first, last;
    int64_t bytes = 0;
  };
  std::map<std::pair<int, int>, Held> nodes;
  for (const Linear& linear : plan.linears) {
    if (!linear.IsExpert() || !linear.decision.quantizes()) continue;
    const size_t segment = executor.plan().SegmentOfStep(linear.node);
    Held& held =
        nodes.try_emplace({linear.place.form, linear.place.mixture}, Held{segment, segment})
            .first->second;
    held.first = std::min(held.first, segment);
    held.last = std::max(held.last, segment);
    held.bytes += UnpackedBytes(linear);
    if (linear.place.part != ExpertPart::kDown) {  // in the order of the node, and packed
      held.bytes += linear.n * linear.k * (8 + StoredBits(linear.spec().bits)) / 8;
    }
  }
  for (const auto& [node, held] : nodes) {
    for (size_t i = held.first; i <= held.last; ++i) sizes[i].held += held.bytes;
  }
}

}  // namespace

std::vector<SegmentSize> SizesOf(const Executor& executor, const Plan& plan) {
  const Graph& graph = executor.graph();
  std::vector<SegmentSize> sizes(executor.plan().segments().size());
  std::set<ValueId> counted;
  for (const Linear& linear : plan.linears) {
    const ValueId output = graph.outputs(linear.node)[0];
    SegmentSize& size = sizes[executor.plan().SegmentOf(output)];
    if (!linear.is_head) size.outputs += linear.n;
    if (!counted.insert(linear.operand).second) continue;
    if (!linear.is_head) size.elements += linear.n * linear.k;
    size.stored += StoredBytes(graph, linear);
    AddWeight(graph, linear, size);
  }
  for (const Site& site : plan.sites) {
    SegmentSize& size = sizes[site.segment];
    const int64_t k = plan.linears[size_t(site.linears.front())].k;
    int64_t elements = 0;
    for (const int linear : site.linears) elements += plan.linears[size_t(linear)].n * k;
    size.site = std::max(size.site, elements);
    const int64_t sample = TokenSample::kMost * k * 4;
    size.sample = std::max(size.sample, sample);
    size.grams += k * k * 4 + sample;
    size.largest_gram = std::max(size.largest_gram, k * k * 4 + sample);
    size.row_tile = std::max(size.row_tile, std::clamp<int64_t>(k / 4, 64, 512) * k * 4);
    size.inputs += k;
  }
  for (size_t i = 0; i < sizes.size(); ++i) {
    for (const ValueId id : executor.TablesOf(executor.plan().segments()[i])) {
      const int64_t copied = graph.model().weights().CopiedBytes(*graph.value(id).constant);
      sizes[i].copies += copied;
      if (copied == 0) sizes[i].tables += StoredBytes(graph, id);
    }
  }
  AddHeld(executor, plan, sizes);
  return sizes;
}

}  // namespace ptq
