// Poses a problem for each site, takes over shared results, and folds scales into rows.
#include "segment_quantizer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "shared_weights.h"
#include <spdlog/spdlog.h>

#include "ptq/base/half.h"
#include "ptq/base/interrupt.h"
#include "ptq/base/memory.h"
#include "ptq/base/parallel.h"
#include "ptq/base/progress.h"
#include "ptq/emit/metadata.h"
#include "ptq/runtime/stored_matrix.h"
#include "ptq/tensor/transpose.h"

namespace ptq {
namespace {

/// Folded constants and scaled activations stay this far below the largest binary16 number.
constexpr float kHalfHeadroom = 0.25f * kHalfMax;
/// Rows that one task copies.
constexpr int64_t kRowTile = 64;

/// Q(W·diag(s))·diag(s)⁻¹, from the codes.
class EffectiveWeight : public DeferredWeight {
 public:
  /// `scale`: s[K], or null.
  EffectiveWeight(std::shared_ptr<const QuantizedMatrix> q,
                  std::shared_ptr<const std::vector<float>> scale, const Linear& linear)
      : q_(std::move(q)),
        scale_(std::move(scale)),
        operand_is_nk_(linear.operand_is_nk),
        experts_(linear.experts),
        is_stack_(linear.gather >= 0) {}

  [[nodiscard]] int64_t n() const override { return q_->n; }
  [[nodiscard]] int64_t k() const override { return q_->k; }

  const float* Rows(int64_t begin, int64_t end, std::vector<float>& buffer) const override {
    const int64_t k = q_->k;
    if (int64_t(buffer.size()) < (end - begin) * k) buffer.resize(size_t((end - begin) * k));
    q_->DequantizeRows(begin, end, buffer.data());
    if (scale_ == nullptr) return buffer.data();
    for (int64_t r = 0; r < end - begin; ++r) {
      for (int64_t j = 0; j < k; ++j) buffer[size_t(r * k + j)] /= (*scale_)[size_t(j)];
    }
    return buffer.data();
  }

  [[nodiscard]] Tensor Whole() const override {
    const int64_t n = q_->n / experts_;
    const int64_t k = q_->k;
    Shape shape = operand_is_nk_ ? Shape{n, k} : Shape{k, n};
    if (is_stack_) shape.insert(shape.begin(), experts_);
    Tensor operand(DType::kFloat32, shape);
    for (int64_t e = 0; e < experts_; ++e) {
      float* to = operand.mutable_data<float>().data() + e * n * k;
      ParallelForTiles(n, kRowTile, [&](int64_t begin, int64_t end) {
        std::vector<float> buffer;
        const float* rows = Rows(e * n + begin, e * n + end, buffer);
        if (operand_is_nk_) {
          std::copy_n(rows, (end - begin) * k, to + begin * k);
        } else {
          TransposePart(rows, k, end - begin, k, to + begin, n);
        }
      });
    }
    return operand;
  }

 private:
  std::shared_ptr<const QuantizedMatrix> q_;
  std::shared_ptr<const std::vector<float>> scale_;
  bool operand_is_nk_;
  int64_t experts_;
  bool is_stack_;
};

/// Divides the quantized scales of each row by the site's scale of the channels that it feeds.
/// False when a binary16 scale would leave the range of full precision; nothing is changed then.
bool DivideRows(std::span<const int64_t> row_of_channel, std::span<const float> scale,
                QuantizedMatrix& q) {
  const int64_t groups = q.spec.GroupsFor(q.k);
  std::vector<float> divided = q.scales;
  std::vector<bool> done(size_t(q.n));
  for (size_t channel = 0; channel < scale.size(); ++channel) {
    const int64_t row = row_of_channel[channel];
    if (done[size_t(row)]) continue;
    done[size_t(row)] = true;
    for (int64_t g = 0; g < groups; ++g) {
      float& value = divided[size_t(row * groups + g)];
      value /= scale[channel];
      if (q.spec.scale_type != ScaleType::kFloat16) continue;
      if (std::abs(value) > kHalfMax || (value != 0 && std::abs(value) < kHalfMinNormal)) {
        return false;
      }
      value = RoundToHalf(value);
    }
  }
  q.scales = std::move(divided);
  return true;
}

/// The same for what is added to the rows' outputs.
void DivideBias(std::span<const int64_t> row_of_channel, std::span<const float> scale,
                std::vector<float>& bias) {
  if (bias.empty()) return;
  std::vector<float> divisor(bias.size(), 1.0f);
  for (size_t channel = 0; channel < scale.size(); ++channel) {
    divisor[size_t(row_of_channel[channel])] = scale[channel];
  }
  for (size_t r = 0; r < bias.size(); ++r) bias[r] /= divisor[r];
}

}  // namespace

SegmentQuantizer::SegmentQuantizer(const Executor& executor, const Plan& plan, Method method,
                                   const SharedWeights* others, size_t model)
    : executor_(executor), plan_(plan), method_(std::move(method)), others_(others), model_(model) {
  outcomes_.resize(plan.linears.size());
  for (size_t i = 0; i < plan.linears.size(); ++i) {
    const Linear& linear = plan.linears[i];
    if (linear.decision != Decision::kQuantize || !linear.shared) continue;
    Shared& shared = shared_[linear.part];
    shared.linears.push_back(int(i));
    ++shared.waiting;
  }
}

SegmentResult SegmentQuantizer::Quantize(std::span<const size_t> sites,
                                         StatisticsBySite statistics) {
  SegmentResult result;
  for (const size_t index : sites) {
    CheckInterrupt();  // a site may take minutes
    const Site& site = plan_.sites[index];
    Progress::ShowDetail("searching " + plan_.linears[size_t(site.linears.front())].name);
    const Seen seen = SeenAt(site, statistics);
    std::vector<int> own;
    for (const int linear : site.linears) {
      if (!plan_.linears[size_t(linear)].shared) own.push_back(linear);
    }
    if (!own.empty()) QuantizeSiteLinears(site, own, seen, result);
    for (const int linear : site.linears) {
      if (plan_.linears[size_t(linear)].shared) CollectShared(site, linear, seen, result);
    }
    statistics.erase(site.value);  // a Gram matrix is large
  }
  return result;
}

SegmentQuantizer::Seen SegmentQuantizer::SeenAt(const Site& site,
                                                StatisticsBySite& statistics) const {
  const auto found = statistics.find(site.value);
  if (found == statistics.end()) return {};
  const bool none = found->second.count() == 0;
  if (!none && found->second.IsFinite()) return {&found->second, ""};
  Seen seen;
  seen.note = none ? "rounded to nearest: no calibration token reached it"
                   : "rounded to nearest: its activations are not finite";
  spdlog::warn("'{}': {}", plan_.linears[size_t(site.linears.front())].name, seen.note);
  return seen;
}

/// All linears of a site see the same inputs, with their mean or without it.
bool SegmentQuantizer::CorrectsBias(const Site& site) const {
  if (method_.bias == BiasCorrection::kNone) return false;
  if (others_ != nullptr && !others_->Divide(model_, site.linears).shared.empty()) return false;
  return std::ranges::all_of(site.linears, [&](int index) {
    const Linear& linear = plan_.linears[size_t(index)];
    if (linear.shared || linear.gather >= 0) return false;
    const bool has = linear.bias != kNoValue || linear.bias_add.node >= 0;
    if (!has) return method_.bias == BiasCorrection::kAll;
    return linear.bias == kNoValue || executor_.graph().value(linear.bias).constant != nullptr;
  });
}

void SegmentQuantizer::AddOperands(SegmentResult& result) const {
  std::map<int, std::shared_ptr<const std::vector<float>>> scales;
  for (const ScaledSite& scaled : result.scaled) {
    const auto scale = std::make_shared<const std::vector<float>>(scaled.scale);
    for (const int linear : scaled.site.linears) scales[linear] = scale;
  }
  for (const QuantizedLinear& quantized : result.linears) {
    const Linear& linear = plan_.linears[size_t(quantized.linear)];
    result.operands[linear.operand] =
        std::make_shared<EffectiveWeight>(quantized.q, scales[quantized.linear], linear);
    for (const ConstantProduct& product : linear.constant_products) {
      Linear there = linear;
      there.operand_is_nk = product.operand_is_nk;
      result.operands[product.operand] =
          std::make_shared<EffectiveWeight>(quantized.q, scales[quantized.linear], there);
    }
    if (quantized.bias.empty()) continue;
    const auto n = int64_t(quantized.bias.size());
    result.additions[executor_.graph().outputs(linear.node)[0]] =
        Tensor::From<float>({n}, quantized.bias);
  }
}

void SegmentQuantizer::QuantizeSiteLinears(const Site& site, const std::vector<int>& linears,
                                           const Seen& seen, SegmentResult& result) {
  if (others_ == nullptr) return SearchSite(site, linears, seen, result);
  const SharedWeights::Parts parts = others_->Divide(model_, linears);
  for (const auto& part : parts.shared) ShareSite(site, part, seen, result);
  if (!parts.own.empty()) SearchSite(site, parts.own, seen, result);
}

/// Takes over what was found for these linears in another model, or finds it for the others.
void SegmentQuantizer::ShareSite(const Site& site, const std::vector<int>& linears,
                                 const Seen& seen, SegmentResult& result) {
  if (const auto known = others_->Find(model_, plan_, linears)) {
    for (size_t i = 0; i < linears.size(); ++i) {
      outcomes_[size_t(linears[i])] = known->outcomes[i];
      result.linears.push_back({linears[i], known->matrices[i], {}});
    }
    if (known->scale.empty()) return;
    Site scaled = site;
    scaled.linears = linears;
    if (known->site.fold.kind != site.fold.kind) scaled.fold = Fold();
    result.scaled.push_back({std::move(scaled), known->scale});
    return;
  }
  const size_t scaled_before = result.scaled.size();
  const size_t linears_before = result.linears.size();
  SearchSite(site, linears, seen, result);
  SharedWeights::Record record;
  record.site = site;
  if (result.scaled.size() > scaled_before) {
    record.site = result.scaled.back().site;
    record.scale = result.scaled.back().scale;
  }
  for (size_t i = 0; i < linears.size(); ++i) {
    record.outcomes.push_back(outcomes_[size_t(linears[i])]);
    record.matrices.push_back(result.linears[linears_before + i].q);
  }
  others_->Keep(model_, linears, record);
}

void SegmentQuantizer::SearchSite(const Site& site, const std::vector<int>& linears,
                                  const Seen& seen, SegmentResult& result) {
  const auto start = std::chrono::steady_clock::now();
  SiteStatistics* const statistics = seen.statistics;
  SiteProblem problem;
  problem.k = plan_.linears[size_t(linears.front())].k;
  problem.scaling_allowed = site.scaling_allowed;
  problem.row_of_channel = site.fold.row_of_channel;
  std::vector<float> mean_abs;
  if (statistics != nullptr) {
    mean_abs = statistics->MeanAbs();
    problem.mean_abs = mean_abs;
    problem.max_abs = statistics->max_abs();
    if (CorrectsBias(site)) {
      statistics->Center();
      problem.sum = statistics->sum();
      problem.shift_sum = statistics->shift_sum();
    }
    problem.gram = statistics->gram();
    problem.cross = statistics->cross();
    problem.tokens = statistics->count();
    problem.scale_min = std::max(problem.scale_min, SmallestScale(site, *statistics));
  }
  for (const int index : linears) {
    const Linear& linear = plan_.linears[size_t(index)];
    problem.linears.push_back({linear.name, WeightRows(linear), linear.spec});
  }
  SiteResult found = QuantizeSite(problem, method_);
  Site scaled = site;
  scaled.linears = linears;
  const auto channels = int64_t(site.fold.row_of_channel.size());
  if (found.scale.empty() && channels > 0 && plan_.linears[size_t(site.fold.linear)].n < channels) {
    // One scale for all heads that share a row does not pay; one for each, with a Mul, may.
    problem.row_of_channel = {};
    found = QuantizeSite(problem, method_);
    scaled.fold = Fold();
  }
  for (size_t i = 0; i < linears.size(); ++i) {
    LinearResult& own = found.linears[i];
    Record(linears[i], found, own, seen);
    result.linears.push_back(
        {linears[i], std::make_shared<const QuantizedMatrix>(std::move(own.q)), own.bias});
  }
  SayWhatWasFound(linears, found.scale.empty() ? "" : FoldName(scaled.fold.kind),
                  std::chrono::steady_clock::now() - start);
  if (!found.scale.empty()) {
    result.scaled.push_back({std::move(scaled), std::move(found.scale)});
  }
}

/// For --verbose: what was tried at a site, what was chosen, and what that costs.
void SegmentQuantizer::SayWhatWasFound(const std::vector<int>& linears, const std::string& fold,
                                       std::chrono::duration<double> time) const {
  for (const int index : linears) {
    const LinearOutcome& outcome = outcomes_[size_t(index)];
    const auto percent = [&](double loss) {
      return outcome.energy > 0 ? 100 * loss / outcome.energy : 0.0;
    };
    const std::string scaling =
        fold.empty() ? "unscaled" : fmt::format("alpha {:.2f} into {}", outcome.alpha, fold);
    spdlog::debug(
        "'{}': {} + {} + {} tried, {} {}{}, error {:.4f} % of the output energy (nearest {:.4f} "
        "%), {} tokens, {} for its site",
        plan_.linears[size_t(index)].name, method_.scaling, method_.grid, method_.rounding,
        outcome.scaling, scaling, outcome.bias_corrected ? ", bias corrected" : "",
        percent(outcome.loss), percent(outcome.loss_rtn), outcome.tokens,
        FormatSeconds(time.count()));
  }
}

void SegmentQuantizer::CollectShared(const Site& at, int linear, const Seen& seen,
                                     SegmentResult& result) {
  const ValueId part = plan_.linears[size_t(linear)].part;
  if (auto first = shared_.extract(part); !first.empty()) pending_.insert(std::move(first));
  Shared& shared = pending_.at(part);
  if (!seen.note.empty()) shared.note = seen.note;
  const bool first_of_site = shared.sites.insert(at.value).second;
  if (seen.statistics != nullptr && first_of_site) {
    if (shared.merged.has_value()) {
      shared.merged->Merge(*seen.statistics);
    } else {
      shared.merged = *seen.statistics;
    }
  }
  if (--shared.waiting > 0) return;
  Shared complete = std::move(pending_.extract(part).mapped());
  Site site;  // of this weight alone: it has one set of codes, and never a scale
  site.linears = {complete.linears.front()};
  site.scaling_allowed = false;
  // What one of its sites has seen serves for all.
  Seen merged;
  if (complete.merged.has_value()) {
    merged.statistics = &*complete.merged;
  } else {
    merged.note = complete.note;
  }
  QuantizeSiteLinears(site, {complete.linears.front()}, merged, result);
  const auto q = result.linears.back().q;
  for (size_t i = 1; i < complete.linears.size(); ++i) {
    const int other = complete.linears[i];
    outcomes_[size_t(other)] = outcomes_[size_t(complete.linears.front())];
    result.linears.push_back({other, q, {}});
  }
}

void SegmentQuantizer::Record(int linear, const SiteResult& site_result,
                              const LinearResult& linear_result, const Seen& seen) {
  LinearOutcome& outcome = outcomes_[size_t(linear)];
  outcome.loss_rtn = linear_result.loss_rtn;
  outcome.loss = linear_result.loss;
  outcome.energy = linear_result.energy;
  outcome.scaling = site_result.scaling;
  outcome.alpha = site_result.alpha;
  outcome.bias_corrected = !linear_result.bias.empty();
  outcome.tokens = seen.statistics != nullptr ? seen.statistics->count() : 0;
  outcome.note = seen.note;
}

/// Row factors go into the quantized scales of the producing linear: a row's codes do not change
/// when the row is multiplied.
void SegmentQuantizer::FoldRows(SegmentResult& result) {
  for (ScaledSite& scaled : result.scaled) {
    Fold& fold = scaled.site.fold;
    if (fold.kind == Fold::Kind::kLinearRows) {
      const auto producer =
          std::ranges::find(result.linears, fold.linear, &QuantizedLinear::linear);
      if (producer == result.linears.end()) {
        throw InternalError("a scale folds into the rows of a linear of another segment");
      }
      // What the original graph must compute stays as it is, so the division has its own copy.
      QuantizedMatrix divided = *producer->q;
      if (DivideRows(fold.row_of_channel, scaled.scale, divided)) {
        DivideBias(fold.row_of_channel, scaled.scale, producer->bias);
        producer->q = std::make_shared<const QuantizedMatrix>(std::move(divided));
      } else {
        fold = Fold();
      }
    }
    for (const int linear : scaled.site.linears) {
      outcomes_[size_t(linear)].fold = FoldName(fold.kind);
    }
  }
}

MatrixRows SegmentQuantizer::WeightRows(const Linear& linear) const {
  const bool transposed = !linear.operand_is_nk;
  if (auto rows = FindStoredRows(executor_.graph(), linear.operand, transposed)) return *rows;
  const Tensor whole = executor_.LoadConstant(linear.operand);
  const int64_t stride = transposed ? linear.n / linear.experts : linear.k;
  return {whole, MatrixRows::Part{linear.n, linear.k, 0, stride, transposed, linear.experts}};
}

/// In a binary16 graph neither a folded gain γ/s nor a scaled activation x/s may overflow.
float SegmentQuantizer::SmallestScale(const Site& site, const SiteStatistics& statistics) const {
  const Linear& linear = plan_.linears[size_t(site.linears.front())];
  if (linear.operand_type != DType::kFloat16) return 0.0f;
  float largest = 0;
  for (const float value : statistics.max_abs()) largest = std::max(largest, value);
  for (const Use& gain : site.fold.gains) {
    const ValueId id = executor_.graph().inputs(gain.node)[size_t(gain.input)];
    const Tensor constant = executor_.LoadConstant(id);
    for (const float value : constant.data<float>()) largest = std::max(largest, std::abs(value));
  }
  return largest / kHalfHeadroom;
}

}  // namespace ptq
