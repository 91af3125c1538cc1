// Takes a sample from those of the calibration, or makes one up.
#include "witness_sample.h"

#include <algorithm>
#include <utility>

#include "ptq/calibrate/samples.h"
#include "ptq/runtime/feeds.h"

namespace ptq {
namespace {

/// Tokens of the sample: enough for every kernel to see several rows, few enough to cost nothing.
constexpr int64_t kSampleLength = 16;
constexpr int64_t kLongestSample = 64;

}  // namespace

TokenBlock BeginningOfLongest(std::span<const std::vector<int64_t>> samples) {
  const auto longest = std::ranges::max_element(samples, {}, &std::vector<int64_t>::size);
  TokenBlock block;
  block.batch = 1;
  block.length = std::min(int64_t(longest->size()), kLongestSample);
  block.ids.assign(longest->begin(), longest->begin() + block.length);
  return block;
}

TokenBlock Fitted(TokenBlock block, TokenShape fixed) {
  const int64_t length = fixed.length > 0 ? fixed.length : block.length;
  const int64_t batch = std::max<int64_t>(1, fixed.batch);
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < batch * length; ++i) {
    ids.push_back(block.ids[size_t(i % length % block.length)]);
  }
  return {batch, length, std::move(ids), {}};
}

TokenBlock AnySample(int64_t vocabulary) {
  TokenBlock block;
  block.batch = 1;
  block.length = kSampleLength;
  const int64_t modulus = vocabulary > 0 ? vocabulary : kSampleLength;
  for (int64_t i = 0; i < kSampleLength; ++i) block.ids.push_back((1 + 7 * i) % modulus);
  return block;
}

Values WitnessInputs(const Source& source, const CalibrationRun* calibration,
                     const ModelInputs& inputs) {
  const TokenBlock sample =
      Fitted(calibration != nullptr ? BeginningOfLongest(calibration->samples.ids)
                                    : AnySample(VocabularySize(source.graph)),
             FixedTokenShape(source.graph));
  const Feeder feeder =
      calibration != nullptr
          ? calibration->feeder
          : Feeder(source.graph, ReadFeedHints(source.model.directory()), inputs.source);
  return feeder.Make(sample.ids, sample.batch, sample.length);
}

SampledInputs SampleInputs(const Source& source, const Recipe& recipe, const RunContext& context,
                           int64_t most_tokens) {
  SampledInputs found;
  const Feeder feeder(source.graph, ReadFeedHints(source.model.directory()), context.inputs.source);
  Ranks alone = Ranks::Alone();
  const CalibrationSet samples = ReadSamplesFor(source, recipe, alone, context.inputs);
  found.provenance = samples.provenance;
  const int64_t rows = std::max<int64_t>(1, FixedTokenShape(source.graph).batch);
  for (const auto& ids : samples.ids) {
    const auto length = std::ssize(ids);
    if (found.tokens > 0 && found.tokens + length > most_tokens) break;
    found.tokens += length;
    found.longest = std::max(found.longest, length);
    TokenBlock block;
    block.batch = 1;
    block.length = length;
    block.ids = ids;
    block = Fitted(std::move(block), {rows, length});
    found.inputs.push_back(feeder.Make(block.ids, block.batch, block.length));
  }
  return found;
}

}  // namespace ptq
