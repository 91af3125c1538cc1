// Reads the samples, gives each rank its blocks, and makes a calibrator that fits the memory.
#include "ptq/calibrate/calibration_run.h"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <span>
#include <string>
#include <system_error>
#include <utility>

#include <nlohmann/json.hpp>

#include "ptq/base/progress.h"
#include "ptq/calibrate/pair_types.h"
#include "ptq/calibrate/rank_parts.h"
#include "ptq/calibrate/samples.h"

namespace ptq {
namespace {

using Ids = std::vector<std::vector<int64_t>>;

/// What one rank runs.
struct Part {
  Ids ids;
  CalibrationSize size;  ///< of the rank that has most, so that all plan alike
};

/// Tokens of a block at most: the rows that the model fixes, where it does.
int64_t BlockTokens(const Source& source, const Ids& ids) {
  const int64_t rows = FixedTokenShape(source.graph).batch;
  if (rows == 1) return 1;  // a longer sample is a block of its own
  return rows == 0 || ids.empty() ? kBlockTokens : rows * std::ssize(ids.front());
}

/// Whole blocks, which are made again from the part as they are made from the whole.
Part PartOf(const Ids& ids, int64_t block_tokens, const Ranks& ranks) {
  const auto blocks = MakeMicroBatches(ids, /*token_budget=*/1, block_tokens);
  std::vector<int64_t> tokens;
  tokens.reserve(blocks.size());
  for (const MicroBatch& block : blocks) tokens.push_back(block.tokens);
  const std::vector<size_t> bounds = EvenParts(tokens, ranks.size());
  Part part;
  part.size.statistics = true;
  part.size.longest = blocks.front().blocks.front().length;
  for (size_t rank = 0; rank + 1 < bounds.size(); ++rank) {
    const auto own = std::span(tokens).subspan(bounds[rank], bounds[rank + 1] - bounds[rank]);
    part.size.tokens =
        std::max(part.size.tokens, std::accumulate(own.begin(), own.end(), int64_t{0}));
  }
  for (size_t i = bounds[size_t(ranks.rank())]; i < bounds[size_t(ranks.rank()) + 1]; ++i) {
    for (const size_t sample : blocks[i].blocks.front().samples) part.ids.push_back(ids[sample]);
  }
  return part;
}

/// Parts of the samples' tokens that are seen once more in padded batches, and the least of them.
constexpr int64_t kPaddedPart = 8;
constexpr int64_t kPaddedTokens = 2048;

/// What shows the range of activations where batches are padded, on rank 0. Their rounding depends
/// on the whole batch.
std::vector<MicroBatch> PaddedBatches(const CalibrationRequest& request, const Ids& ids,
                                      const FeedHints& hints) {
  if (!request.ranges || !ReadsPadding(request.source.graph)) return {};
  int64_t tokens = 0;
  for (const auto& sample : ids) tokens += std::ssize(sample);
  return MakePaddedBatches(ids, hints.pad_token, std::max(kPaddedTokens, tokens / kPaddedPart));
}

/// The directory, or that of the system where it is one of another machine.
std::filesystem::path ScratchDirectory(const std::filesystem::path& wanted, const Ranks& ranks) {
  std::error_code error;
  const bool usable = ranks.is_root() || std::filesystem::is_directory(wanted, error);
  return usable ? wanted : std::filesystem::temp_directory_path();
}

size_t CountBlocks(const std::vector<MicroBatch>& batches) {
  size_t count = 0;
  for (const MicroBatch& batch : batches) count += batch.blocks.size();
  return count;
}

}  // namespace

/// Rank 0 reads: the others may have no such file, and have no standard input.
CalibrationSet ReadSamplesFor(const Source& source, const Recipe& recipe, Ranks& ranks,
                              const ModelInputs& inputs) {
  const Progress progress("reading samples");
  CalibrationSet samples;
  if (inputs.feeds != nullptr) {
    samples = inputs.feeds->Samples(recipe.calibration);
  } else if (ranks.is_root()) {
    const TokenShape fixed = FixedTokenShape(source.graph);
    CalibrationOptions options = recipe.calibration;
    options.fixed_rows = fixed.batch;
    options.fixed_length = fixed.length;
    if (fixed.length > 0) options.seq_len = fixed.length;
    options.pairs = PairUseOf(source.graph);
    samples = ReadSamples(options, recipe.source, recipe.tokenizer, inputs.vocabulary);
  }
  if (ranks.size() == 1) return samples;
  std::string bytes;
  if (ranks.is_root()) nlohmann::json::to_cbor({samples.ids, samples.types}, bytes);
  ranks.Copy(bytes, 0, Ranks::kEveryone);
  const nlohmann::json copied = nlohmann::json::from_cbor(bytes);
  copied[0].get_to(samples.ids);
  copied[1].get_to(samples.types);
  return samples;
}

bool SamplesCanBeReadOnce(const Recipe& recipe) {
  return std::ranges::any_of(recipe.calibration.files, [](const auto& file) {
    std::error_code error;
    return file == "-" || (std::filesystem::exists(file, error) &&
                           !std::filesystem::is_regular_file(file, error) &&
                           !std::filesystem::is_directory(file, error));
  });
}

void TryCalibration(const Source& source, const Recipe& recipe, const ModelInputs& inputs) {
  source.executor.plan().RequireKernels();
  const Feeder feeder(source.graph, ReadFeedHints(source.model.directory()), inputs.source);
  if (SamplesCanBeReadOnce(recipe)) return;
  Ranks alone = Ranks::Alone();
  (void)ReadSamplesFor(source, recipe, alone, inputs);
}

CalibrationRun StartCalibration(const CalibrationRequest& request, Ranks& ranks,
                                const ModelInputs& inputs) {
  const auto& [source, recipe, method, plan, scratch, taken, warm, ranges] = request;
  source.executor.plan().RequireKernels();
  const FeedHints hints = ReadFeedHints(source.model.directory());
  Feeder feeder(source.graph, hints, inputs.source);
  CalibrationSet samples = ReadSamplesFor(source, recipe, ranks, inputs);
  feeder = Feeder(source.graph, hints, WithPairTypes(inputs.source, source.graph, samples));
  const int64_t block_tokens = BlockTokens(source, samples.ids);
  Part part = PartOf(samples.ids, block_tokens, ranks);
  part.size.method = method;
  AddRecipe(recipe, part.size);
  std::vector<MicroBatch> padded = PaddedBatches(request, samples.ids, hints);
  for (const MicroBatch& batch : padded) part.size.tokens += batch.tokens;
  if (!ranks.is_root()) padded.clear();
  part.size.warm = warm;
  const MemoryPlan memory = PlanMemory(source.executor, plan, part.size, recipe.memory_budget);
  auto batches = MakeMicroBatches(part.ids, memory.micro_batch_tokens, block_tokens);
  std::ranges::move(padded, std::back_inserter(batches));
  CutStore cuts(CountBlocks(batches) * Calibrator::StreamsFor(method.propagate), memory.cut_bytes,
                ScratchDirectory(scratch, ranks));
  const Division division = !method.propagate ? Division::kWhole
                            : memory.lockstep ? Division::kLockstep
                                              : Division::kRerun;
  const std::vector<bool> none(plan.sites.size(), false);
  Calibrator calibrator(
      source.executor, feeder, batches,
      DivideIntoStages(source.executor.plan(), plan, taken.empty() ? none : taken, division),
      method.propagate, std::move(cuts), memory.idle_bytes);
  return {std::move(samples), std::move(feeder), std::move(calibrator), memory};
}

}  // namespace ptq
