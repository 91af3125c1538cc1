// Lets samples run through the model as it is, and looks at what it hands out to be given back.
#include "cache_plan.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "witness_sample.h"

#include "ptq/base/error.h"
#include "ptq/base/progress.h"
#include "ptq/base/stopwatch.h"
#include "ptq/calibrate/calibration_run.h"
#include "ptq/calibrate/observe_values.h"
#include "ptq/quant/cache_scales.h"

namespace ptq {
namespace {

/// Tokens of samples that are looked at: the largest values of channels are known by then.
constexpr int64_t kCacheTokens = 16384;

void CheckObservable(const Source& source, const Recipe& recipe) {
  const std::string why = WhyNotRun(source);
  if (!why.empty()) {
    throw UnsupportedError("--kv-cache needs scales from running the model, and " + why);
  }
  if (SamplesCanBeReadOnce(recipe)) {
    throw UsageError(
        "--kv-cache reads the samples a time of its own, and those of --calib can be "
        "read only once; store them in a file");
  }
}

/// For the metadata, and for the prediction of memory.
void NoteSamples(const SampledInputs& samples, RunReport& report) {
  report.plan.caches->tokens = samples.tokens;
  report.plan.caches->longest = samples.longest;
  report.cache_samples = samples.provenance;
}

CacheScaleSpec SpecOf(const Cache& cache, const CacheCodes& codes) {
  CacheScaleSpec spec;
  spec.heads = cache.heads;
  spec.head_size = cache.head_size;
  spec.rotated = cache.rotated;
  spec.interleaved = cache.interleaved;
  spec.turns = cache.turns;
  spec.keys = cache.keys;
  spec.bits = codes.bits;
  spec.per_channel = codes.per_channel;
  return spec;
}

}  // namespace

void CheckCacheRecipe(const Recipe& recipe, const RunContext& context) {
  if (recipe.kv_cache == Precision::kKeep) return;
  if (context.is_part) {
    throw UsageError("--kv-cache is for a directory of one model; give the decoder's file");
  }
  if (recipe.layout == Layout::kTransformersJs) {
    throw UsageError(
        "--kv-cache with --layout transformers.js: transformers.js begins with caches of floats, "
        "and takes no others");
  }
}

void PlanCacheSamples(const Recipe& recipe, Plan& plan) {
  if (!plan.caches.has_value()) return;
  plan.caches->longest = recipe.calibration.seq_len;
  plan.caches->tokens = std::min(std::max(kCacheTokens, plan.caches->longest),
                                 recipe.calibration.samples * recipe.calibration.seq_len);
}

std::string CacheNote(const QuantizedCaches& caches) {
  const bool by_attention = caches.caches.front().rows.empty();
  return std::string(by_attention ? "quantized caches need ONNX Runtime 1.27 or later; who"
                                  : "caches are quantized: who") +
         " runs the model hands over and takes back the type that its inputs declare";
}

void TryObservingCaches(const Source& source, const Recipe& recipe, const RunContext& context,
                        RunReport& report) {
  if (!report.plan.caches.has_value()) return;
  CheckObservable(source, recipe);
  NoteSamples(SampleInputs(source, recipe, context, kCacheTokens), report);
}

void ObserveCaches(const Source& source, const Recipe& recipe, const RunContext& context,
                   RunReport& report) {
  if (!report.plan.caches.has_value()) return;
  CheckObservable(source, recipe);
  const Progress progress("observing caches");
  const Stopwatch watch(report.timings.forward);
  const auto& codes = report.plan.caches->codes;
  auto& caches = report.plan.caches->caches;
  std::map<ValueId, std::vector<Tensor>> seen;  // of one segment
  const auto taps = [&](const Segment& segment) {
    std::vector<ValueId> values;
    for (const Cache& cache : caches) {
      if (cache.node >= segment.begin && cache.node < segment.end) values.push_back(cache.present);
    }
    return values;
  };
  const auto see = [&](ValueId id, const Tensor& value) { seen[id].push_back(value); };
  const auto behind = [&] {
    for (Cache& cache : caches) {
      const auto found = seen.find(cache.present);
      if (found == seen.end()) continue;
      cache.scales = CacheScales(found->second, SpecOf(cache, codes));
    }
    seen.clear();
  };
  SampledInputs samples = SampleInputs(source, recipe, context, kCacheTokens);
  NoteSamples(samples, report);
  ObserveValues(source.executor, std::move(samples.inputs), {taps, see, behind});
  for (const Cache& cache : caches) {
    if (cache.scales.empty()) throw InternalError("the cache '" + cache.name + "' was not seen");
  }
}

}  // namespace ptq
