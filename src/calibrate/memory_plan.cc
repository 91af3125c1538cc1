// Predicts what a run needs, from the plan and what the process holds already.
#include "ptq/calibrate/memory_plan.h"

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "segment_sizes.h"

#include "ptq/base/error.h"
#include "ptq/base/format.h"
#include "ptq/base/memory.h"
#include "ptq/base/parallel.h"
#include "ptq/emit/stored_codes.h"
#include "ptq/model/constant_view.h"

namespace ptq {
namespace {

constexpr int64_t kLeastIdle = 8 << 20;
constexpr int64_t kMostIdle = 256 << 20;
/// Pages of the program and its libraries that are read after the plan is made, and small things.
constexpr int64_t kProgramBytes = 3 << 20;
/// What stays of reading and tokenizing texts: pages of the tokenizer, and its parts.
constexpr int64_t kReadingBytes = 6 << 20;
/// What the kernel maps around one row of a table: 64 KiB at most, and neighbours share them.
constexpr int64_t kRowPages = 32 << 10;
/// Tokens whose activations are held when memory is no concern.
constexpr int64_t kMicroBatchTokens = 2048;
/// Copies of a tile of rows that a thread makes of it.
constexpr int64_t kRowBuffers = 8;
/// Tokens of the sample that verifies (pipeline/witness_sample.cc), with calibration and without.
constexpr int64_t kVerifiedTokens = 64;
constexpr int64_t kMadeUpTokens = 16;
/// Weights of a table that are held at once while it is quantized (emit/forms/form_gather.cc): as
/// floats, as codes twice, and as they are packed.
constexpr int64_t kTableWeights = 1 << 20;
constexpr int64_t kTableBytes = 4 + 2 + 1;
/// Of filters, which are held as a whole: as stored, by channels, what the search holds, the codes.
constexpr int64_t kFilterBytes = 4 + 4 + 4 + 2;
/// Freed memory that is used again as it is, without gaps.
constexpr int64_t kReused = 8 << 20;
/// Gaps between activations of different sizes, as a part of them.
constexpr int64_t kGapsPart = 3;
/// By how much two processes that do the same differ.
constexpr int64_t kNoise = 1 << 20;
constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

/// The largest need of any segment while samples run through it, while it is searched, or while the
/// sample that verifies is carried through it (packing needs less). Freed memory is kept for the
/// next up to idle_bytes.
int64_t LargestSegment(const std::vector<SegmentSize>& sizes, const MemoryPlan& memory,
                       const CalibrationSize& calibration) {
  const Method& method = calibration.method;
  const int64_t tokens = memory.micro_batch_tokens;
  const int64_t threads = ActiveThreads();
  // A site at a time has a Gram matrix and a cross moment; weights are there twice.
  const int64_t streams = method.propagate ? 2 : 1;
  const bool factorises = method.propagate || method.rounding != "nearest";
  int64_t largest = 0;
  for (const SegmentSize& size : sizes) {
    // No more is kept than was there: the activations of a batch.
    // Each thread has a block of tokens at work beside what sites have seen.
    const int64_t running = size.outputs * std::min(tokens, threads * kBlockTokens) * 4;
    const int64_t freed = size.inputs * tokens * 4 + running;
    const int64_t idle = freed < kReused ? 0 : std::min(memory.idle_bytes, freed);
    const int64_t grams = method.propagate ? 2 * size.largest_gram : size.grams;
    const int64_t tables = std::min(size.tables, tokens * kRowPages);
    const int64_t seen = streams * size.inputs * tokens * 4;
    const int64_t observe = streams * size.elements * 4 + grams + seen + seen / kGapsPart +
                            size.copies + std::max(running + tables, idle);
    int64_t search = size.searched + size.codes + size.site + (calibration.statistics ? grams : 0);
    // A factor in double, what is made of it, tiles of rows at work, and the corrected weights.
    if (factorises) search += 3 * size.largest_gram + threads * kRowBuffers * size.row_tile;
    // The tokens of one site under its scale, and how far two ranges are from them.
    if (method.activation_range.needs_sample()) search += 3 * size.sample;
    if (method.propagate) search += 4 * size.site + 4 * size.elements;
    search += size.held;
    // The sample is carried along while the codes are there.
    const int64_t carry =
        calibration.verifies ? size.searched + size.codes + size.kept + size.copies : 0;
    largest = std::max({largest, search + idle, carry, tokens > 0 ? observe : 0});
  }
  return largest;
}

/// Bytes of the activations on the widest cut, as they are kept: binary16, and token ids; within a
/// segment, float32.
int64_t CutBytes(const Plan& plan, const CalibrationSize& calibration, bool lockstep) {
  int64_t width = 0;  // of the residual stream: the narrowest that linears read
  int64_t widest = 0;
  for (const Site& site : plan.sites) {
    const int64_t k = plan.linears[size_t(site.linears.front())].k;
    width = width == 0 ? k : std::min(width, k);
    widest = std::max(widest, k);
  }
  const int64_t bytes = lockstep ? (width + widest) * 4 + 16 : width * 2 + 16;
  return calibration.tokens * bytes * (calibration.method.propagate ? 2 : 1);
}

/// Bytes of the outputs that a sample of some tokens has.
int64_t OutputBytes(const Graph& graph, int64_t tokens) {
  int64_t bytes = 0;
  for (const ValueId id : graph.graph_outputs()) {
    const auto declared = graph.DeclaredType(id);
    if (!declared.shape.has_value()) continue;
    int64_t elements = 1;
    bool open = false;
    for (const int64_t dim : *declared.shape) {
      open = open || dim < 0;
      if (dim > 0) elements *= dim;
    }
    // More than any machine has is as good as a sum.
    constexpr int64_t kMost = int64_t{1} << 56;
    bytes = std::min(kMost, bytes + 4 * elements * (open ? tokens : 1));
  }
  return bytes;
}

/// What it takes to run the written model and compare its outputs.
int64_t VerificationBytes(const Graph& graph, const std::vector<SegmentSize>& sizes,
                          const CalibrationSize& calibration) {
  if (!calibration.verifies) return 0;
  int64_t largest = 0;
  for (const SegmentSize& size : sizes) {
    largest = std::max(largest, size.results + (calibration.widens ? 5 * size.widest : 0) +
                                    std::min(size.tables, kVerifiedTokens * kRowPages));
  }
  const int64_t tokens =
      calibration.tokens > 0 ? std::min(calibration.longest, kVerifiedTokens) : kMadeUpTokens;
  return largest + 2 * OutputBytes(graph, tokens);
}

/// What it takes to quantize the largest table, some of its rows and all its scales, or filters.
int64_t TableSearchBytes(const Graph& graph, const Plan& plan) {
  int64_t largest = 0;
  for (const Table& table : plan.tables) {
    if (!table.decision.quantizes()) continue;
    const int64_t weights = table.n * table.k;
    const int64_t grid = 2 * (table.decision.bytes - weights * StoredBits(table.spec().bits) / 8);
    largest = std::max(
        largest, kTableBytes * std::min(weights, kTableWeights) + grid +
                     graph.model().weights().CopiedBytes(*graph.value(table.stored).constant));
  }
  for (const Constant& constant : plan.constants) {
    if (constant.decision.quantizes()) {
      largest = std::max(largest, kFilterBytes * constant.n * constant.k);
    }
  }
  return largest;
}

/// What it takes to see what caches hold: the activations of all samples on a cut, the caches of a
/// segment, a segment's weights, and one sample at work.
int64_t CacheSearchBytes(const Executor& executor, const Plan& plan,
                         const std::vector<SegmentSize>& sizes) {
  if (!plan.caches.has_value()) return 0;
  const int64_t tokens = plan.caches->tokens;
  std::vector<int64_t> widths(sizes.size(), 0);
  for (const Cache& cache : plan.caches->caches) {
    widths[executor.plan().SegmentOf(cache.present)] += cache.heads * cache.head_size;
  }
  int64_t residual = 0;  // the narrowest that linears read
  for (const Linear& linear : plan.linears) {
    if (linear.is_head) continue;
    residual = residual == 0 ? linear.k : std::min(residual, linear.k);
  }
  // Of a channel: its values, those of its pair, and turns of them (quant/cache_scales.cc).
  constexpr int64_t kColumns = 6;
  const int64_t columns = ActiveThreads() * kColumns * tokens;
  int64_t largest = 0;
  for (size_t i = 0; i < sizes.size(); ++i) {
    const SegmentSize& size = sizes[i];
    const int64_t work = (2 * size.outputs + size.inputs) * plan.caches->longest;
    const int64_t held = residual * tokens + widths[i] * tokens + size.elements;
    largest = std::max(largest, 4 * (held + std::max(work, widths[i] > 0 ? columns : 0)) +
                                    size.copies + std::min(size.tables, tokens * kRowPages));
  }
  return largest;
}

int64_t IdleBytes(const std::vector<SegmentSize>& sizes) {
  int64_t stored = 0;
  for (const SegmentSize& size : sizes) stored += size.stored;
  return std::clamp(stored / 4, kLeastIdle, kMostIdle);
}

}  // namespace

int64_t StoredBytes(const Graph& graph, ValueId id) {
  if (id == kNoValue) return 0;
  const StoredTensor& tensor = *graph.value(id).constant;
  const Shape shape(tensor.dims().begin(), tensor.dims().end());
  return BytesOf(DType(tensor.data_type()), NumElements(shape));
}

int64_t StoredBytes(const Graph& graph, const Linear& linear) {
  if (linear.part == linear.stored) return StoredBytes(graph, linear.stored);
  return BytesOf(linear.stored_type, linear.n * linear.k);
}

namespace {

/// The ways in which a run may use memory, by what they cost in time.
class Planner {
 public:
  Planner(const Executor& executor, const Plan& plan, const CalibrationSize& calibration)
      : sizes_(SizesOf(executor, plan)),
        plan_(plan),
        calibration_(calibration),
        verification_(VerificationBytes(executor.graph(), sizes_, calibration)),
        tables_(TableSearchBytes(executor.graph(), plan)),
        caches_(CacheSearchBytes(executor, plan, sizes_)) {}

  /// What costs least time first: activations kept from site to site, checkpoints that are waited
  /// for, less memory kept for reuse, activations in a file, small batches.
  [[nodiscard]] std::vector<MemoryPlan> Ways() const {
    const int64_t batch = std::min(calibration_.tokens, kMicroBatchTokens);
    const int64_t idle = calibration_.tokens > 0 ? IdleBytes(sizes_) : 0;
    const int64_t least_idle = std::min(idle, kLeastIdle);
    std::vector<MemoryPlan> ways;
    if (calibration_.method.propagate) ways.push_back(Way(batch, idle, kUnlimited, true, true));
    ways.push_back(Way(batch, idle, kUnlimited, true, false));
    ways.push_back(Way(batch, least_idle, kUnlimited, false, false));
    ways.push_back(Way(batch, least_idle, 0, false, false));
    ways.push_back(Way(0, least_idle, 0, false, false));
    return ways;
  }

  [[nodiscard]] int64_t Cut(bool lockstep) const { return CutBytes(plan_, calibration_, lockstep); }

 private:
  [[nodiscard]] MemoryPlan Way(int64_t micro_batch, int64_t idle, int64_t cut_bytes,
                               bool saves_behind, bool lockstep) const {
    const int64_t least_batch =
        std::min(calibration_.tokens, std::max(calibration_.longest, kBlockTokens));
    MemoryPlan memory;
    memory.micro_batch_tokens = std::max(micro_batch, least_batch);
    memory.idle_bytes = idle;
    memory.cut_bytes = cut_bytes;
    memory.saves_behind = saves_behind;
    memory.lockstep = lockstep;
    const int64_t quantizing = std::min(Cut(lockstep), cut_bytes) +
                               (saves_behind ? std::min(Cut(false), cut_bytes) : 0) +
                               LargestSegment(sizes_, memory, calibration_);
    memory.peak_bytes = std::max(
        calibration_.reached, Before() + std::max({quantizing, verification_, tables_, caches_}));
    return memory;
  }

  /// What is resident whatever the model's size.
  [[nodiscard]] int64_t Before() const {
    if (calibration_.warm) return calibration_.resident;
    int64_t widest = 0;
    for (const SegmentSize& size : sizes_) widest = std::max(widest, size.widest);
    // Small weights do not fill its buffers, and a sample that verifies does so less.
    const int64_t copies = calibration_.tokens > 0 ? 20 : calibration_.verifies ? 1 : 0;
    return calibration_.resident + kProgramBytes +
           std::min(MatrixLibraryBytes(), copies * widest * 4);
  }

  const std::vector<SegmentSize> sizes_;
  const Plan& plan_;
  const CalibrationSize& calibration_;
  const int64_t verification_;
  const int64_t tables_;
  const int64_t caches_;
};

}  // namespace

void AddRecipe(const Recipe& recipe, CalibrationSize& size) {
  size.verifies = recipe.verify;
  size.widens = recipe.format == "qdq" ||
                std::ranges::any_of(recipe.rules, [](const Rule& r) { return r.form == "qdq"; });
  size.resident = ResidentBytes();
  size.reached = PeakResidentBytes();
}

void AddReading(CalibrationSize& size) {
  if (size.tokens > 0) size.resident += kReadingBytes;
}

MemoryPlan PlanMemory(const Executor& executor, const Plan& plan,
                      const CalibrationSize& calibration, int64_t budget) {
  const Planner planner(executor, plan, calibration);
  const std::vector<MemoryPlan> ways = planner.Ways();
  for (const MemoryPlan& memory : ways) {
    // Without a budget, time is worth half of this machine's memory.
    const int64_t limit = budget > 0 ? budget : memory.lockstep ? PhysicalBytes() / 2 : kUnlimited;
    const int64_t left = limit - memory.peak_bytes;
    if (left < 0) continue;
    MemoryPlan fitted = memory;
    if (memory.cut_bytes == 0) {
      fitted.cut_bytes = std::min(left, planner.Cut(false));
      fitted.peak_bytes += fitted.cut_bytes;
    }
    return fitted;
  }
  throw ResourceError("quantizing this model needs about " +
                      FormatBytes(ways.back().peak_bytes + kNoise) +
                      " of memory, more than --memory-budget " + FormatBytes(budget) +
                      "; raise it, or use shorter samples (--seq-len)");
}

}  // namespace ptq
