// Counts the live activations at each gap between steps, and cuts where they are fewest nearby.
#include "segments.h"

#include <algorithm>
#include <limits>
#include <map>
#include <set>

#include "ptq/model/constant_view.h"

namespace ptq {
namespace {

/// A cut is compared with all others that are at most this many weight products away.
constexpr size_t kWindow = 4;
/// A constant operand with fewer elements is a scale or a table, not a weight.
constexpr int64_t kSmallWeight = 256;

/// Follows a constant back through Transpose, Cast and their like to a stored matrix.
bool IsWeight(const Graph& graph, const std::vector<bool>& constant, ValueId id) {
  if (!constant[size_t(id)]) return false;
  const Value& value = graph.value(id);
  if (value.constant != nullptr) {
    int64_t size = 1;
    for (const int64_t dim : value.constant->dims()) size *= dim;
    return value.constant->dims_size() >= 2 && size >= kSmallWeight;
  }
  return value.producer >= 0 &&
         std::ranges::any_of(graph.inputs(value.producer), [&](ValueId input) {
           return input != kNoValue && IsWeight(graph, constant, input);
         });
}

class Cutter {
 public:
  Cutter(const Graph& graph, const std::vector<Step>& steps, const std::vector<bool>& constant,
         const std::vector<bool>& ambient)
      : graph_(graph),
        steps_(steps),
        constant_(constant),
        ambient_(ambient),
        count_(int(steps.size())),
        products_(FindWeightProducts(graph, steps, constant)) {
    MarkShapeOnly();
    FindLastUses();
    ForbidCutsBetweenSiblings();
    ForbidCutsInBodies();
  }

  std::vector<Segment> Cut() {
    std::vector<int> ends;
    for (const int gap : NarrowGaps()) {
      const int begin = ends.empty() ? 0 : ends.back();
      if (HasProduct(begin, gap) && HasProduct(gap, count_)) ends.push_back(gap);
    }
    ends.push_back(count_);
    std::vector<Segment> segments;
    int begin = 0;
    for (const int end : ends) {
      Segment segment;
      segment.begin = begin;
      segment.end = end;
      segment.live_in = LiveAt(begin);
      segment.live_out = end == count_ ? GraphOutputs() : LiveAt(end);
      segments.push_back(std::move(segment));
      begin = end;
    }
    return segments;
  }

 private:
  /// Values that depend on shapes only are small and cheap: they do not make a cut wide.
  void MarkShapeOnly() {
    shape_only_ = constant_;
    for (const Step& step : steps_) {
      const std::string& type = graph_.nodes()[size_t(step.node)].op_type();
      const bool all = std::ranges::all_of(graph_.inputs(step.node), [&](ValueId id) {
        return id == kNoValue || shape_only_[size_t(id)];
      });
      if (type != "Shape" && type != "Size" && !(all && step.kernel != nullptr)) continue;
      for (const ValueId id : graph_.outputs(step.node)) {
        if (id != kNoValue) shape_only_[size_t(id)] = true;
      }
    }
  }

  void FindLastUses() {
    last_use_.assign(graph_.values().size(), -1);
    for (size_t id = 0; id < last_use_.size(); ++id) {
      const Value& value = graph_.values()[id];
      if (value.graph_output) last_use_[id] = count_;
    }
    for (int i = 0; i < count_; ++i) {
      // A constant step reads its inputs when the segment's constants are folded, not here.
      const Step& step = steps_[size_t(i)];
      if (step.constant) continue;
      for (const ValueId id : ReadsOf(graph_, step)) {
        last_use_[size_t(id)] = std::max(last_use_[size_t(id)], i);
      }
    }
    // What an ambient value is computed from is needed wherever that value is.
    for (size_t i = steps_.size(); i-- > 0;) {
      for (const ValueId output : graph_.outputs(steps_[i].node)) {
        if (output == kNoValue || !ambient_[size_t(output)]) continue;
        for (const ValueId input : ReadsOf(graph_, steps_[i])) {
          last_use_[size_t(input)] = std::max(last_use_[size_t(input)], last_use_[size_t(output)]);
        }
      }
    }
  }

  /// Products of one activation share statistics and scales, so they stay in one segment. So do
  /// products of one weight in different branches, which share its codes.
  void ForbidCutsBetweenSiblings() {
    allowed_.assign(size_t(count_) + 1, true);
    std::map<ValueId, int> first;
    for (const int product : products_) {
      for (const ValueId id : graph_.inputs(steps_[size_t(product)].node)) {
        if (id == kNoValue) continue;
        int own = product;
        if (constant_[size_t(id)]) {
          const bool in_branch = graph_.scope(graph_.ScopeOf(product)).is_branch();
          if (!in_branch || !IsWeight(graph_, constant_, id)) continue;
        } else if (const auto gathered = FindGathered(graph_, id)) {
          own = gathered->gather;  // gathered matrices are weights: their codes are made there
        }
        const int begin = first.try_emplace(id, own).first->second;
        for (int gap = begin + 1; gap <= product; ++gap) allowed_[size_t(gap)] = false;
      }
    }
  }

  /// A body runs as a whole.
  void ForbidCutsInBodies() {
    for (const Scope& scope : graph_.scopes()) {
      if (scope.is_branch() || scope.owner < 0) continue;
      for (int gap = scope.first + 1; gap <= scope.owner; ++gap) allowed_[size_t(gap)] = false;
    }
  }

  [[nodiscard]] bool IsLive(size_t id, int gap) const {
    const Value& value = graph_.values()[id];
    const bool exists = value.producer >= 0 ? value.producer < gap : value.graph_input;
    // What is ambient is computed again on the other side, from the inputs.
    const bool carried = !constant_[id] && (!ambient_[id] || value.graph_input);
    return carried && exists && last_use_[id] >= gap;
  }

  /// What the last segment gives: ambient values and constants, too, when they are outputs.
  [[nodiscard]] std::vector<ValueId> GraphOutputs() const {
    std::vector<ValueId> outputs;
    for (size_t id = 0; id < last_use_.size(); ++id) {
      if (graph_.values()[id].graph_output) outputs.push_back(ValueId(id));
    }
    return outputs;
  }

  [[nodiscard]] std::vector<ValueId> LiveAt(int gap) const {
    std::vector<ValueId> live;
    for (size_t id = 0; id < last_use_.size(); ++id) {
      if (IsLive(id, gap)) live.push_back(ValueId(id));
    }
    return live;
  }

  /// Live activations at each gap (before step i), without masks, rotary tables and their like:
  /// what stems from before the first product and serves many.
  [[nodiscard]] std::vector<int> Widths() const {
    std::vector<int> change(size_t(count_) + 2, 0);
    for (size_t id = 0; id < last_use_.size(); ++id) {
      const int producer = graph_.values()[id].producer;
      // Graph outputs (caches) must be kept, but they need not come over the cut again.
      if (constant_[id] || shape_only_[id]) continue;
      if (producer < 0 && !graph_.values()[id].graph_input) continue;  // of a body
      int last = -1;
      for (const Use& use : graph_.values()[id].uses) last = std::max(last, use.node);
      if (last <= producer) continue;
      // The embedding counts like any other residual stream, so that the first block stays whole.
      const auto served = std::ranges::upper_bound(products_, last) - products_.begin();
      if (ambient_[id] && served > 2 * int64_t(kWindow)) continue;
      ++change[size_t(producer) + 1];
      --change[size_t(last) + 1];
    }
    std::vector<int> widths;
    int width = 0;
    for (int i = 0; i <= count_; ++i) widths.push_back(width += change[size_t(i)]);
    return widths;
  }

  /// Gaps as narrow as any other within kWindow products to both sides.
  [[nodiscard]] std::vector<int> NarrowGaps() const {
    std::vector<int> gaps;
    if (products_.size() < 2) return gaps;
    const std::vector<int> widths = Widths();
    for (int gap = products_.front() + 1; gap <= products_.back(); ++gap) {
      const auto next = std::ranges::lower_bound(products_, gap) - products_.begin();
      const auto low = std::max<int64_t>(0, next - int64_t(kWindow));
      const auto high =
          std::min<int64_t>(int64_t(products_.size()) - 1, next + int64_t(kWindow) - 1);
      int narrowest = std::numeric_limits<int>::max();
      for (int i = products_[size_t(low)] + 1; i <= products_[size_t(high)]; ++i) {
        if (allowed_[size_t(i)]) narrowest = std::min(narrowest, widths[size_t(i)]);
      }
      if (allowed_[size_t(gap)] && widths[size_t(gap)] <= narrowest) gaps.push_back(gap);
    }
    return gaps;
  }

  [[nodiscard]] bool HasProduct(int begin, int end) const {
    const auto at = std::ranges::lower_bound(products_, begin);
    return at != products_.end() && *at < end;
  }

  const Graph& graph_;
  const std::vector<Step>& steps_;
  const std::vector<bool>& constant_;
  const std::vector<bool>& ambient_;
  const int count_;
  const std::vector<int> products_;  ///< steps
  std::vector<bool> allowed_;        ///< by gap
  std::vector<bool> shape_only_;
  std::vector<int> last_use_;
};

}  // namespace

std::vector<int> FindWeightProducts(const Graph& graph, const std::vector<Step>& steps,
                                    const std::vector<bool>& constant) {
  static const std::set<std::string> kProducts = {
      "MatMul",        "Gemm",       "FusedMatMul", "Attention", "MatMulNBits", "MatMulBnb4",
      "MatMulInteger", "QAttention", "MoE",         "QMoE",      "Conv"};
  std::vector<int> products;
  for (size_t i = 0; i < steps.size(); ++i) {
    const Node& node = graph.nodes()[size_t(steps[i].node)];
    if (steps[i].constant || !kProducts.contains(node.op_type())) continue;
    const auto& inputs = graph.inputs(steps[i].node);
    const bool weighted = std::ranges::any_of(inputs, [&](ValueId id) {
      return id != kNoValue && (IsWeight(graph, constant, id) || FindGathered(graph, id));
    });
    if (weighted) products.push_back(int(i));
  }
  return products;
}

std::vector<Segment> CutIntoSegments(const Graph& graph, const std::vector<Step>& steps,
                                     const std::vector<bool>& constant,
                                     const std::vector<bool>& ambient) {
  return Cutter(graph, steps, constant, ambient).Cut();
}

}  // namespace ptq
