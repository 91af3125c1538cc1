// Two calibrations side by side, and at each site the search on both.
#include "convergence.h"

#include <algorithm>
#include <cmath>
#include <system_error>

#include <unistd.h>

#include "ptq/base/error.h"
#include "ptq/base/interrupt.h"
#include "ptq/base/parallel.h"
#include "ptq/base/progress.h"
#include "ptq/base/ranks.h"
#include "ptq/calibrate/calibration_run.h"
#include "ptq/calibrate/companions.h"
#include "ptq/plan/plan.h"
#include "ptq/quant/method.h"
#include "ptq/search/weight_rows.h"
#include "ptq/tensor/gemm.h"
#include "ptq/tensor/npz.h"

namespace ptq {
namespace {

using Rows = std::vector<std::vector<int64_t>>;

/// A directory that goes with this object.
class ScratchDirectory {
 public:
  ScratchDirectory()
      : path_(std::filesystem::temp_directory_path() /
              ("quantize-check-" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(path_);
  }
  ~ScratchDirectory() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Rows of ids as a calibration file.
void WriteIds(const std::filesystem::path& file, const Rows& rows) {
  size_t length = 1;
  for (const auto& row : rows) length = std::max(length, row.size());
  std::vector<int64_t> ids, mask;
  for (const auto& row : rows) {
    ids.insert(ids.end(), row.begin(), row.end());
    ids.resize(ids.size() + length - row.size(), 0);
    mask.insert(mask.end(), row.size(), 1);
    mask.resize(ids.size(), 0);
  }
  const Shape shape{std::ssize(rows), int64_t(length)};
  WriteNpz(file, {{"input_ids", Tensor::From<int64_t>(shape, ids)},
                  {"attention_mask", Tensor::From<int64_t>(shape, mask)}});
}

/// What a search finds on one half's statistics of a site.
struct Half {
  const SiteStatistics* statistics;
  std::vector<float> mean_abs;
  std::vector<float> gram;  ///< [K, K], both triangles
  SiteResult found;
};

std::vector<float> WholeGram(const SiteStatistics& statistics) {
  const int64_t k = statistics.k();
  std::vector<float> gram(statistics.gram().begin(), statistics.gram().end());
  for (int64_t i = 0; i < k; ++i) {
    for (int64_t j = i + 1; j < k; ++j) gram[size_t(i * k + j)] = gram[size_t(j * k + i)];
  }
  return gram;
}

/// tr(Δ H Δᵀ) of a linear's codes under other statistics.
double LossOn(const LinearProblem& linear, const SiteResult& found, size_t index,
              const std::vector<float>& gram) {
  constexpr int64_t kTile = 128;
  const QuantizedMatrix& q = found.linears[index].q;
  const int64_t k = q.k;
  double loss = 0;
  std::vector<float> delta, buffer, product;
  for (int64_t begin = 0; begin < q.n; begin += kTile) {
    CheckInterrupt();
    const int64_t end = std::min(q.n, begin + kTile);
    delta.resize(size_t((end - begin) * k));
    product.resize(delta.size());
    q.DequantizeRows(begin, end, delta.data());
    const float* const weights = linear.w.Get(begin, end, buffer);
    for (size_t i = 0; i < delta.size(); ++i) {
      const float scale = found.scale.empty() ? 1.0f : found.scale[i % size_t(k)];
      delta[i] = delta[i] / scale - weights[i];
    }
    Gemm(1, {delta.data(), end - begin, k, k}, {gram.data(), k, k, k}, 0, product.data(), k);
    for (size_t i = 0; i < delta.size(); ++i) loss += double(delta[i]) * product[i];
  }
  return loss;
}

class HalfComparer {
 public:
  HalfComparer(const Executor& executor, const Plan& plan) : executor_(executor), plan_(plan) {
    method_.scaling = "awq";
    method_.rounding =
        "gptq";  // which fits codes to the statistics, and so shows when they are few
  }

  void Compare(const Site& site, const SiteStatistics& first, const SiteStatistics& second) {
    if (!first.IsFinite() || !second.IsFinite() || first.count() == 0 || second.count() == 0) {
      return;
    }
    std::vector<LinearProblem> linears;
    for (const int index : site.linears) {
      const Linear& linear = plan_.linears[size_t(index)];
      if (!linear.decision.quantizes() || linear.reused || linear.decision.known) continue;
      linears.push_back({linear.name, WeightRows(executor_, linear), linear.spec()});
    }
    if (linears.empty()) return;
    const Half halves[] = {Searched(site, first, linears), Searched(site, second, linears)};
    ++agreement_.sites;
    agreement_.alpha_change += std::abs(halves[0].found.alpha - halves[1].found.alpha);
    for (size_t i = 0; i < linears.size(); ++i) {
      for (const size_t on : {size_t{0}, size_t{1}}) {
        const double energy = halves[on].found.linears[i].energy;
        if (!(energy > 0)) continue;
        own_ += LossOn(linears[i], halves[on].found, i, halves[on].gram) / energy;
        others_ += LossOn(linears[i], halves[1 - on].found, i, halves[on].gram) / energy;
      }
    }
  }

  [[nodiscard]] HalfAgreement Result() const {
    HalfAgreement result = agreement_;
    if (result.sites > 0) result.alpha_change /= double(result.sites);
    result.loss_change = own_ > 0 ? others_ / own_ - 1 : 0;
    return result;
  }

 private:
  Half Searched(const Site& site, const SiteStatistics& statistics,
                const std::vector<LinearProblem>& linears) const {
    Half half{&statistics, statistics.MeanAbs(), WholeGram(statistics), {}};
    SiteProblem problem;
    problem.k = statistics.k();
    problem.mean_abs = half.mean_abs;
    problem.max_abs = statistics.max_abs();
    problem.gram = statistics.gram();
    problem.tokens = statistics.count();
    problem.scaling_allowed = site.scaling_allowed;
    problem.row_of_channel = site.fold.row_of_channel;
    problem.linears = linears;
    half.found = QuantizeSite(problem, method_);
    return half;
  }

  const Executor& executor_;
  const Plan& plan_;
  Method method_;
  HalfAgreement agreement_;
  double own_ = 0;
  double others_ = 0;
};

}  // namespace

HalfAgreement CompareHalves(const std::filesystem::path& model, const Rows& ids, int64_t seq_len) {
  Rows rows[2];
  for (size_t i = 0; i < ids.size(); ++i) rows[i % 2].push_back(ids[i]);
  if (rows[1].empty()) throw UsageError("one text has no halves");
  const ScratchDirectory scratch;
  std::vector<Recipe> recipes(2);
  for (size_t half = 0; half < 2; ++half) {
    const auto file = scratch.path() / (half == 0 ? "even.npz" : "odd.npz");
    WriteIds(file, rows[half]);
    recipes[half].source = model;
    recipes[half].requantize = true;
    recipes[half].calibration.files = {file};
    recipes[half].calibration.samples = std::ssize(rows[half]);
    recipes[half].calibration.seq_len = seq_len;
  }
  Companions companions({model}, recipes[0]);
  const Source& source = companions.source(0);
  const Plan plan = MakePlan(source.executor.plan(), PlanOptions());
  const ModelInputs inputs = InputsOf(companions, 0);
  Ranks alone = Ranks::Alone();
  Method observed;
  observed.scaling = "awq";
  std::vector<CalibrationRun> runs;
  for (const Recipe& recipe : recipes) {
    runs.push_back(
        StartCalibration({source, recipe, observed, plan, scratch.path()}, alone, inputs));
  }
  HalfComparer comparer(source.executor, plan);
  Timings timings;
  const size_t segments = runs[0].calibrator.stages().size();
  Progress progress("comparing halves", int64_t(segments));
  for (size_t i = 0; i < segments; ++i) {
    const StatisticsBySite first = runs[0].calibrator.Observe(i, 0, {}, timings);
    const StatisticsBySite second = runs[1].calibrator.Observe(i, 0, {}, timings);
    for (const Site& site : plan.sites) {
      const auto a = first.find(site.value), b = second.find(site.value);
      if (a != first.end() && b != second.end()) comparer.Compare(site, a->second, b->second);
    }
    source.executor.DropWeights(source.executor.plan().segments()[i]);
    progress.Advance();
  }
  return comparer.Result();
}

}  // namespace ptq
