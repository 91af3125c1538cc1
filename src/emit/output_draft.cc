// Calls the output model's commands in the order of a run, with codes that nobody looks at.
#include "ptq/emit/output_draft.h"

#include <algorithm>
#include <map>

#include "ptq/transform/equal_codes.h"

namespace ptq {
namespace {

/// The commands of a run, on a draft.
class Drafter {
 public:
  Drafter(const Graph& graph, const Plan& plan, const OutputFiles& files, const Recipe& recipe,
          Undecided undecided)
      : graph_(graph),
        plan_(plan),
        method_(MethodOf(recipe)),
        decides_(undecided == Undecided::kEverything && NeedsStatistics(recipe)),
        output_(OutputModel::Draft(graph, plan, files,
                                   FirstWithEqualCodes(graph, plan, !NeedsStatistics(recipe)))) {
    for (const Linear& linear : plan.linears) {
      if (IsSearched(linear) && linear.reused) ++waiting_[linear.part];
    }
  }

  FileSizes Measure(const std::vector<std::pair<std::string, std::string>>& properties) {
    for (const Table& table : plan_.tables) {
      if (table.decision.quantizes()) (void)output_.QuantizeTable(table, {});
    }
    for (const Constant& constant : plan_.constants) {
      if (constant.decision.quantizes()) output_.QuantizeFilters(constant, FiltersOf(constant));
    }
    std::map<size_t, std::vector<const Site*>> segments;
    for (const Site& site : plan_.sites) segments[site.segment].push_back(&site);
    for (const auto& [segment, sites] : segments) QuantizeSegment(sites);
    for (const Linear& linear : plan_.linears) {
      const bool stored = linear.decision.halves() && linear.is_head && !plan_.half.has_value();
      if (stored) (void)output_.StoreAsHalf(linear);
    }
    for (const auto& [key, value] : properties) output_.SetMetadata(key, value);
    return output_.Measure();
  }

 private:
  static QuantizedMatrix FiltersOf(const Constant& constant) {
    QuantizedMatrix q;
    q.spec = constant.spec();
    q.n = constant.n;
    q.k = constant.k;
    return q;
  }

  static bool IsSearched(const Linear& linear) {
    return linear.decision.quantizes() && linear.table < 0;
  }

  [[nodiscard]] const Linear& linear(int index) const { return plan_.linears[size_t(index)]; }

  void QuantizeSegment(const std::vector<const Site*>& sites) {
    for (const Site* site : sites) ScaleSite(*site);
    for (const Site* site : sites) {
      const bool biases = decides_ && HasBiases(*site);
      for (const int index : site->linears) {
        if (!linear(index).reused) Quantize(linear(index), biases);
      }
      for (const int index : site->linears) CollectReused(linear(index));
    }
  }

  /// One scale for all may be refused for one of the site's own, behind a Mul.
  void ScaleSite(const Site& site) {
    if (!decides_ || !site.scaling_allowed) return;
    Site scaled = site;
    std::erase_if(scaled.linears, [&](int index) { return linear(index).reused; });
    const bool any = std::ranges::any_of(scaled.linears, [&](int index) {
      const auto& own = linear(index).decision.method;
      return (own.has_value() ? *own : method_).scaling != "none";
    });
    if (!any) return;
    if (scaled.fold.kind == Fold::Kind::kLinearRows) scaled.fold = Fold();
    const int64_t k = linear(scaled.linears.front()).k;
    output_.ScaleSite(scaled, std::vector<float>(size_t(k), 1.0F));
  }

  [[nodiscard]] bool HasBiases(const Site& site) const {
    if (method_.bias == BiasCorrection::kNone) return false;
    return std::ranges::all_of(site.linears, [&](int index) {
      const Linear& one = linear(index);
      if (one.reused || one.gather >= 0 || one.IsExpert() || one.decision.known) return false;
      const bool has = one.bias != kNoValue || one.bias_add.node >= 0;
      if (!has) return method_.bias == BiasCorrection::kAll;
      return one.bias == kNoValue || graph_.value(one.bias).constant != nullptr;
    });
  }

  void Quantize(const Linear& one, bool bias) {
    if (!IsSearched(one)) return;
    if (bias) output_.AddBias(one, std::vector<float>(size_t(one.n), 0.0F));
    QuantizedMatrix q;
    q.spec = one.spec();
    q.n = one.n;
    q.k = one.k;
    (void)output_.Quantize(one, q, ActivationLevels());
  }

  /// Those of one weight come together, when the last of their sites has come.
  void CollectReused(const Linear& one) {
    if (!one.reused || !IsSearched(one) || --waiting_[one.part] > 0) return;
    for (const Linear& other : plan_.linears) {
      if (other.reused && other.part == one.part) Quantize(other, false);
    }
  }

  const Graph& graph_;
  const Plan& plan_;
  const Method method_;
  const bool decides_;
  OutputModel output_;
  std::map<ValueId, int> waiting_;  ///< sites of reused weights that are to come
};

}  // namespace

FileSizes DraftFiles(const Graph& graph, const Plan& plan, const OutputFiles& files,
                     const Recipe& recipe,
                     const std::vector<std::pair<std::string, std::string>>& properties,
                     Undecided undecided) {
  return Drafter(graph, plan, files, recipe, undecided).Measure(properties);
}

}  // namespace ptq
