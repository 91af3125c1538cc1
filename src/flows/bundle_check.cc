// Feeds the bundle and each of its models the same sample and compares what they give.
#include "bundle_check.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <string>
#include <utility>

#include "ptq/base/error.h"
#include "ptq/base/progress.h"
#include "ptq/calibrate/samples.h"
#include "ptq/model/graph.h"
#include "ptq/runtime/executor.h"
#include "ptq/runtime/feeds.h"
#include "ptq/runtime/run_model.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;
using Arrays = std::map<std::string, Tensor>;

/// Sums may be taken in another order, and then be rounded to the next value of the output's type,
/// no more.
double ToleranceFor(DType dtype) {
  constexpr double kSums = 1e-4;
  if (dtype == DType::kFloat16) return kSums + 0x1p-10;
  return dtype == DType::kBFloat16 ? kSums + 0x1p-7 : kSums;
}

constexpr int64_t kTokens = 16;

/// A model that is loaded to be run.
struct Runner {
  explicit Runner(const fs::path& path) : model(Model::Load(path)), graph(model), executor(graph) {}
  Model model;
  Graph graph;
  Executor executor;
};

/// A short text of made-up tokens, in the shape that the model fixes.
Arrays MakeSample(const Runner& runner) {
  const TokenShape fixed = FixedTokenShape(runner.graph);
  const int64_t length = fixed.length > 0 ? fixed.length : kTokens;
  const int64_t batch = std::max<int64_t>(1, fixed.batch);
  const int64_t vocabulary = VocabularySize(runner.graph);
  const int64_t modulus = vocabulary > 0 ? vocabulary : kTokens;
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < batch * length; ++i) ids.push_back((1 + 7 * (i % length)) % modulus);
  const Feeder feeder(runner.graph, ReadFeedHints(runner.model.directory()));
  Arrays arrays;
  for (auto& [id, tensor] : feeder.Make(ids, batch, length)) {
    arrays[runner.graph.value(id).name] = tensor;
  }
  return arrays;
}

/// Sizes of open dimensions, by the names that exporters give.
int64_t SizeOf(const std::string& dimension) {
  const auto has = [&](const char* word) { return dimension.find(word) != std::string::npos; };
  if (has("batch")) return 1;
  return has("past") && !has("+") ? 0 : 4;
}

/// Noise for the inputs that tokens do not tell; ones for masks and small indices.
Arrays MakeNoise(const Graph& graph) {
  std::mt19937 generator(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  Arrays arrays;
  for (const ValueId id : graph.graph_inputs()) {
    const Graph::Declared type = graph.DeclaredType(id);
    if (!type.shape.has_value() || BitsOf(type.dtype) == 0) {
      throw UnsupportedError("no sample can be made up for the input '" + graph.value(id).name +
                             "'");
    }
    Shape shape = *type.shape;
    for (size_t i = 0; i < shape.size(); ++i) {
      if (shape[i] < 0) shape[i] = SizeOf(type.names[i]);
    }
    Tensor values = Tensor::Filled<float>(shape, 1);
    if (IsFloat(type.dtype)) {
      for (float& value : values.mutable_data<float>()) value = uniform(generator);
    }
    arrays[graph.value(id).name] = values.Cast(type.dtype);
  }
  return arrays;
}

Arrays SampleFor(const Runner& runner) {
  try {
    return MakeSample(runner);
  } catch (const UnsupportedError&) {
    return MakeNoise(runner.graph);
  }
}

/// What a model gives for a made-up sample, which need not be one that it can take.
Arrays RunOnSample(const Runner& runner, const Arrays& sample) {
  try {
    return RunModel(runner.executor, sample);
  } catch (const InputError& error) {
    throw UnsupportedError(std::string("the made-up sample does not fit: ") + error.what());
  }
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
