// Runs a model up to what its head reads.
#include "text_states.h"

#include <algorithm>
#include <cmath>

#include "ptq/base/error.h"
#include "ptq/base/parallel.h"
#include "ptq/base/progress.h"
#include "ptq/calibrate/samples.h"
#include "ptq/evaluate/model_runner.h"
#include "ptq/evaluate/task.h"
#include "ptq/model/graph.h"
#include "ptq/model/model.h"
#include "ptq/runtime/executor.h"
#include "ptq/runtime/feeds.h"
#include "ptq/text/near_duplicates.h"

namespace ptq {
namespace {

constexpr int64_t kPlaces = 256;

/// The activation that a product far behind reads: from logits back over what does not multiply by
/// a weight.
ValueId BeforeHead(const Graph& graph, ValueId value) {
  static constexpr std::string_view kProducts[] = {"MatMul",      "Gemm",          "FusedMatMul",
                                                   "MatMulNBits", "MatMulInteger", "QLinearMatMul"};
  constexpr int kFarthest = 8;
  for (int steps = 0; steps < kFarthest; ++steps) {
    const int node = graph.value(value).producer;
    if (node < 0) break;
    const ValueId before = graph.inputs(node).front();
    if (std::ranges::find(kProducts, graph.nodes()[size_t(node)].op_type()) !=
        std::end(kProducts)) {
      return before;
    }
    if (before == kNoValue || graph.value(before).constant != nullptr) break;
    value = before;
  }
  return value;
}

void Normalize(std::span<float> row) {
  double sum = 0;
  for (const float x : row) sum += double(x) * x;
  const auto factor = float(sum > 0 ? 1 / std::sqrt(sum) : 0);
  for (float& x : row) x *= factor;
}

}  // namespace

struct TextStates::State {
  explicit State(const std::filesystem::path& source)
      : model(Model::Load(source)),
        graph(model),
        executor(graph),
        feeder(graph, ReadFeedHints(model.directory())) {
    executor.plan().RequireKernels();
    const EvalOutput output = ChooseOutput(graph, EvalTask::kAuto);
    value = output.task == EvalTask::kEmbedding ? output.value : BeforeHead(graph, output.value);
    Segment whole;
    whole.end = int(executor.plan().steps().size());
    job = executor.MakeJob(whole, {value}, {});
    constants = executor.LoadConstants(job);
  }

  /// The mean over the tokens.
  [[nodiscard]] std::vector<float> Mean(const std::vector<int64_t>& ids) const {
    const Values outputs = executor.Run(job, constants, feeder.Make(ids, 1, std::ssize(ids)));
    const Tensor states = outputs.at(value).ToFloat32();
    if (states.rank() == 0) throw UnsupportedError("the model's states are one number");
    const int64_t width = states.dim(states.rank() - 1);
    const int64_t rows = states.size() / std::max<int64_t>(1, width);
    std::vector<double> sums(size_t(width), 0);
    for (int64_t r = 0; r < rows; ++r) {
      const auto row = states.data<float>().subspan(size_t(r * width), size_t(width));
      for (size_t j = 0; j < row.size(); ++j) sums[j] += std::isfinite(row[j]) ? row[j] : 0;
    }
    std::vector<float> mean(sums.begin(), sums.end());
    Normalize(mean);
    return mean;
  }

  Model model;
  Graph graph;
  Executor executor;
  Feeder feeder;
  ValueId value = kNoValue;
  Job job;
  Values constants;
};

TextStates::TextStates(const std::filesystem::path& source)
    : state_(std::make_unique<State>(source)) {}
TextStates::~TextStates() = default;

int64_t TextStates::vocabulary() const { return VocabularySize(state_->graph); }

TextPoints TextStates::Of(std::span<const std::vector<int64_t>> texts, int64_t most_tokens) const {
  const auto count = std::ssize(texts);
  std::vector<std::vector<float>> rows(texts.size());
  Progress progress("reading texts with the model", count);
  for (int64_t begin = 0; begin < count; begin += kTextsAtOnce) {
    const int64_t some = std::min(kTextsAtOnce, count - begin);
    ParallelFor(some, [&](int64_t i) {
      const auto& ids = texts[size_t(begin + i)];
      const auto length = std::min(std::ssize(ids), most_tokens);
      rows[size_t(begin + i)] = state_->Mean({ids.begin(), ids.begin() + length});
      progress.Advance();
    });
  }
  TextPoints points;
  points.width = rows.empty() ? 0 : std::ssize(rows.front());
  for (const auto& row : rows) points.values.insert(points.values.end(), row.begin(), row.end());
  return points;
}

TextPoints WordPoints(std::span<const std::string> texts) {
  TextPoints points;
  points.width = kPlaces;
  points.values.resize(texts.size() * size_t(kPlaces), 0);
  ParallelFor(std::ssize(texts), [&](int64_t i) {
    const std::span row = std::span(points.values).subspan(size_t(i * kPlaces), size_t(kPlaces));
    for (const uint64_t word : WordRuns(texts[size_t(i)], 1)) {
      row[word % uint64_t(kPlaces)] += word >> 63 == 0 ? 1.0f : -1.0f;
    }
    for (float& x : row) x = std::copysign(std::log1p(std::abs(x)), x);
    Normalize(row);
  });
  return points;
}

void CenterPoints(TextPoints& points) {
  const int64_t count = points.count();
  if (count == 0) return;
  std::vector<double> mean(size_t(points.width), 0);
  for (int64_t i = 0; i < count; ++i) {
    const auto row = points.row(i);
    for (size_t j = 0; j < row.size(); ++j) mean[j] += row[j] / double(count);
  }
  for (int64_t i = 0; i < count; ++i) {
    const std::span row =
        std::span(points.values).subspan(size_t(i * points.width), size_t(points.width));
    for (size_t j = 0; j < row.size(); ++j) row[j] -= float(mean[j]);
    Normalize(row);
  }
}

}  // namespace ptq
