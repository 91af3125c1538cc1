// Makes up tokens for language models and noise for others, and runs models on them.
#include "made_up_sample.h"

#include <algorithm>
#include <random>
#include <utility>
#include <vector>

#include "ptq/base/error.h"
#include "ptq/calibrate/samples.h"
#include "ptq/runtime/feeds.h"
#include "ptq/runtime/run_model.h"

namespace ptq {
namespace {

constexpr int64_t kTokens = 16;

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

}  // namespace

Arrays SampleFor(const Runner& runner) {
  try {
    return MakeSample(runner);
  } catch (const UnsupportedError&) {
    return MakeNoise(runner.graph);
  }
}

Arrays RunOnSample(const Runner& runner, const Arrays& sample) {
  try {
    return RunModel(runner.executor, sample);
  } catch (const InputError& error) {
    throw UnsupportedError(std::string("the made-up sample does not fit: ") + error.what());
  }
}

}  // namespace ptq
