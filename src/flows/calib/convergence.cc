// Two calibrations side by side, and at each site the search on both.
#include "convergence.h"

#include <algorithm>
#include <cmath>

#include "site_search.h"

#include "ptq/base/error.h"
#include "ptq/base/progress.h"
#include "ptq/base/ranks.h"
#include "ptq/base/scratch_directory.h"
#include "ptq/calibrate/calibration_run.h"
#include "ptq/calibrate/companions.h"
#include "ptq/plan/plan.h"
#include "ptq/quant/method.h"
#include "ptq/tensor/npz.h"

namespace ptq {
namespace {

using Rows = std::vector<std::vector<int64_t>>;

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

Method ComparedMethod(const char* rounding) {
  Method method;
  method.scaling = "awq";
  method.rounding = rounding;
  return method;
}

class HalfComparer {
 public:
  HalfComparer(const Executor& executor, const Plan& plan)
      : scaling_(executor, plan, ComparedMethod("nearest")),
        search_(executor, plan, ComparedMethod("gptq")) {}

  void Compare(const Site& site, const SiteStatistics& first, const SiteStatistics& second) {
    if (!first.IsFinite() || !second.IsFinite() || first.count() == 0 || second.count() == 0) {
      return;
    }
    if (search_.LinearsOf(site).empty()) return;
    const SiteStatistics* const halves[] = {&first, &second};
    const SiteResult found[] = {search_.Search(site, first), search_.Search(site, second)};
    ++agreement_.sites;
    agreement_.alpha_change +=
        std::abs(scaling_.Search(site, first).alpha - scaling_.Search(site, second).alpha);
    for (const size_t on : {size_t{0}, size_t{1}}) {
      for (const double loss : search_.RelativeLosses(site, found[on], *halves[on])) own_ += loss;
      for (const double loss : search_.RelativeLosses(site, found[1 - on], *halves[on])) {
        others_ += loss;
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
  SiteSearch scaling_;  ///< AWQ's own: codes that fit H often need no scale
  SiteSearch search_;   ///< GPTQ's codes, which fit the statistics and so show when they are few
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
  runs.reserve(recipes.size());
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
