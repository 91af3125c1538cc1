// Counts the live activations at each gap between steps, and cuts where they are fewest nearby.
#include "segments.h"

#include <algorithm>
#include <limits>
#include <set>
#include <unordered_map>

#include "ptq/model/constant_view.h"

namespace ptq {
namespace {

/// A cut is compared with all others that are at most this many weight products away.
constexpr size_t kWindow = 4;
/// A constant operand with fewer elements is a scale or a table, not a weight.
constexpr int64_t kSmallWeight = 256;

/// By value: whether it is a stored matrix, or made of one by Transpose, Cast and their like.
std::vector<bool> FindWeights(const Graph& graph, const std::vector<Step>& steps) {
  std::vector<bool> weight(graph.values().size(), false);
  for (size_t id = 0; id < weight.size(); ++id) {
    const StoredTensor* const constant = graph.values()[id].constant;
    if (constant == nullptr) continue;
    int64_t size = 1;
    for (const int64_t dim : constant->dims()) size *= dim;
    weight[id] = constant->dims_size() >= 2 && size >= kSmallWeight;
  }
  for (const Step& step : steps) {
    if (!step.constant) continue;
    const bool made_of_one = std::ranges::any_of(graph.inputs(step.node), [&](ValueId input) {
      return input != kNoValue && weight[size_t(input)];
    });
    for (const ValueId id : graph.outputs(step.node)) {
      if (id == kNoValue || graph.value(id).constant != nullptr) continue;
      weight[size_t(id)] = made_of_one;
    }
  }
  return weight;
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
        products_(FindWeightProducts(graph, steps)) {
    MarkShapeOnly();
    FindLastUses();
    ForbidCuts();
  }

  std::vector<Segment> Cut() {
    std::vector<int> ends;
    for (const int gap : NarrowGaps()) {
      const int begin = ends.empty() ? 0 : ends.back();
      if (HasProduct(begin, gap) && HasProduct(gap, count_)) ends.push_back(gap);
    }
    ends.push_back(count_);
    std::vector<Segment> segments(ends.size());
    for (size_t i = 0; i < ends.size(); ++i) {
      segments[i].begin = i == 0 ? 0 : ends[i - 1];
      segments[i].end = ends[i];
    }
    FillLive(segments);
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

  void ForbidCuts() {
    std::vector<int> change(size_t(count_) + 2, 0);
    const auto forbid = [&](int first, int last) {  // the gaps between two steps
      if (first >= last) return;
      ++change[size_t(first) + 1];
      --change[size_t(last) + 1];
    };
    ForbidCutsBetweenSiblings(forbid);
    // A body runs as a whole.
    for (const Scope& scope : graph_.scopes()) {
      if (!scope.is_branch() && scope.owner >= 0) forbid(scope.first, scope.owner);
    }
    ForbidCutsBetweenExperts(forbid);
    allowed_.assign(size_t(count_) + 1, true);
    int forbidden = 0;
    for (size_t gap = 0; gap < allowed_.size(); ++gap) {
      forbidden += change[gap];
      allowed_[gap] = forbidden == 0;
    }
  }

  /// The codes of all experts of a node are written together.
  template <class Forbid>
  void ForbidCutsBetweenExperts(const Forbid& forbid) const {
    for (const SpelledOut& form : graph_.model().spelled_out()) {
      if (form.original.op_type() != "MoE") continue;
      const auto step = [&](const std::string& output) {
        return graph_.value(graph_.Find(output)).producer;
      };
      forbid(step(form.outputs.front()), step(form.outputs.back()));
    }
  }

  /// Products of one activation share statistics and scales, so they stay in one segment. So do
  /// products of one weight in different branches, which share its codes.
  template <class Forbid>
  void ForbidCutsBetweenSiblings(const Forbid& forbid) const {
    const std::vector<bool> weight = FindWeights(graph_, steps_);
    std::unordered_map<ValueId, int> first;
    for (const int product : products_) {
      for (const ValueId id : graph_.inputs(steps_[size_t(product)].node)) {
        if (id == kNoValue) continue;
        int own = product;
        if (constant_[size_t(id)]) {
          const bool in_branch = graph_.scope(graph_.ScopeOf(product)).is_branch();
          if (!in_branch || !weight[size_t(id)]) continue;
        } else if (const auto gathered = FindGathered(graph_, id)) {
          own = gathered->gather;  // gathered matrices are weights: their codes are made there
        }
        forbid(first.try_emplace(id, own).first->second, product);
      }
    }
  }

  /// What comes over the cut before each segment, and what the last one gives: ambient values and
  /// constants, too, when they are outputs.
  void FillLive(std::vector<Segment>& segments) const {
    for (size_t id = 0; id < last_use_.size(); ++id) {
      const Value& value = graph_.values()[id];
      if (value.graph_output) segments.back().live_out.push_back(ValueId(id));
      // What is ambient is computed again on the other side, from the inputs.
      const bool carried = !constant_[id] && (!ambient_[id] || value.graph_input);
      if (!carried || (value.producer < 0 && !value.graph_input)) continue;
      auto segment = std::ranges::upper_bound(segments, value.producer, {}, &Segment::begin);
      for (; segment != segments.end() && segment->begin <= last_use_[id]; ++segment) {
        segment->live_in.push_back(ValueId(id));
      }
    }
    for (size_t i = 1; i < segments.size(); ++i) segments[i - 1].live_out = segments[i].live_in;
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

  /// Of the gaps behind each product up to the next one.
  [[nodiscard]] std::vector<int> NarrowestBetweenProducts(const std::vector<int>& widths) const {
    std::vector<int> least(products_.size() - 1, std::numeric_limits<int>::max());
    for (size_t i = 0; i < least.size(); ++i) {
      for (int gap = products_[i] + 1; gap <= products_[i + 1]; ++gap) {
        if (allowed_[size_t(gap)]) least[i] = std::min(least[i], widths[size_t(gap)]);
      }
    }
    return least;
  }

  /// Gaps as narrow as any other within kWindow products to both sides.
  [[nodiscard]] std::vector<int> NarrowGaps() const {
    std::vector<int> gaps;
    if (products_.size() < 2) return gaps;
    const std::vector<int> widths = Widths();
    const std::vector<int> least = NarrowestBetweenProducts(widths);
    for (int gap = products_.front() + 1; gap <= products_.back(); ++gap) {
      const auto next = std::ranges::lower_bound(products_, gap) - products_.begin();
      const auto low = std::max<int64_t>(0, next - int64_t(kWindow));
      const auto high =
          std::min<int64_t>(int64_t(products_.size()) - 1, next + int64_t(kWindow) - 1);
      const int narrowest = *std::min_element(least.begin() + low, least.begin() + high);
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

std::vector<int> FindWeightProducts(const Graph& graph, const std::vector<Step>& steps) {
  static const std::set<std::string> kProducts = {
      "MatMul",        "Gemm",       "FusedMatMul", "Attention", "MatMulNBits", "MatMulBnb4",
      "MatMulInteger", "QAttention", "MoE",         "QMoE",      "Conv"};
  const std::vector<bool> weight = FindWeights(graph, steps);
  std::vector<int> products;
  for (size_t i = 0; i < steps.size(); ++i) {
    const Node& node = graph.nodes()[size_t(steps[i].node)];
    if (steps[i].constant || !kProducts.contains(node.op_type())) continue;
    const auto& inputs = graph.inputs(steps[i].node);
    const bool weighted = std::ranges::any_of(inputs, [&](ValueId id) {
      return id != kNoValue && (weight[size_t(id)] || FindGathered(graph, id));
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
