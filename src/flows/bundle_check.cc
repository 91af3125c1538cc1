// Feeds the bundle and each of its models the same sample and compares what they give.
#include "bundle_check.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "verification/made_up_sample.h"

#include "ptq/base/error.h"
#include "ptq/base/progress.h"
#include "ptq/runtime/run_model.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;

/// Sums may be taken in another order, and then be rounded to the next value of the output's type,
/// no more.
double ToleranceFor(DType dtype) {
  constexpr double kSums = 1e-4;
  if (dtype == DType::kFloat16) return kSums + 0x1p-10;
  return dtype == DType::kBFloat16 ? kSums + 0x1p-7 : kSums;
}

double Difference(const Tensor& got, const Tensor& expected) {
  if (got.shape() != expected.shape()) return HUGE_VAL;
  const Tensor a = got.Cast(DType::kFloat64), b = expected.Cast(DType::kFloat64);
  const auto x = a.data<double>();
  const auto y = b.data<double>();
  double worst = 0, largest = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const bool same = x[i] == y[i] || (std::isnan(x[i]) && std::isnan(y[i]));
    const double delta = same ? 0 : std::abs(x[i] - y[i]);
    if (!(delta <= worst)) worst = delta;
    if (std::isfinite(y[i])) largest = std::max(largest, std::abs(y[i]));
  }
  return worst == 0 ? 0 : worst / std::max(largest, 1e-30);
}

double Compare(const Arrays& got, const Arrays& expected, const std::string& name) {
  double worst = 0;
  for (const auto& [output, tensor] : expected) {
    const double difference = Difference(got.at(output), tensor);
    if (!(difference <= ToleranceFor(tensor.dtype()))) {
      throw QualityError("verification: the bundle's output '" + output +
                         "' differs from that of '" + name + "' by " + std::to_string(difference) +
                         " of its largest value; nothing was kept");
    }
    worst = std::max(worst, difference);
  }
  return worst;
}

}  // namespace

BundleVerification VerifyBundle(const BundleRequest& request, const fs::path& directory,
                                const std::vector<fs::path>& files) {
  Progress progress("verifying", 2);
  BundleVerification found;
  const bool switches = files.size() == 1;
  try {
    for (size_t i = 0; i < 2; ++i) {
      Arrays sample, expected;
      {
        const Runner alone(request.sources[i]);
        sample = SampleFor(alone);
        expected = RunOnSample(alone, sample);
      }
      const Runner bundle(directory / files[switches ? 0 : i]);
      if (switches) {
        sample[request.options.choice.input] = Tensor::Scalar(int64_t(i));
      }
      const Arrays got = RunModel(bundle.executor, sample);
      found.max_relative =
          std::max(found.max_relative, Compare(got, expected, request.options.choice.names[i]));
      progress.Advance();
    }
    found.done = true;
  } catch (const UnsupportedError& error) {
    found.note = error.what();
  }
  return found;
}

}  // namespace ptq
