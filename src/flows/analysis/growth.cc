// Runs two graphs on the same texts, and compares the values that they name alike.
#include "growth.h"

#include <cmath>
#include <string>

#include "ptq/base/interrupt.h"
#include "ptq/base/parallel.h"
#include "ptq/base/progress.h"
#include "ptq/model/graph.h"
#include "ptq/model/model.h"
#include "ptq/runtime/executor.h"
#include "ptq/runtime/feeds.h"

namespace ptq {
namespace {

constexpr int64_t kTextsTogether = 4;

/// A graph that is run as a whole for some of its values.
class Probe {
 public:
  Probe(const Executor& executor, const std::filesystem::path& directory,
        std::vector<ValueId> values)
      : executor_(executor), feeder_(executor.graph(), ReadFeedHints(directory)) {
    Segment whole;
    whole.end = int(executor.plan().steps().size());
    job_ = executor.MakeJob(whole, std::move(values), {});
    constants_ = executor.LoadConstants(job_);
  }
  [[nodiscard]] Values Run(const std::vector<int64_t>& ids) const {
    return executor_.Run(job_, constants_, feeder_.Make(ids, 1, std::ssize(ids)));
  }

 private:
  const Executor& executor_;
  Feeder feeder_;
  Job job_;
  Values constants_;
};

struct Sums {
  double error = 0, energy = 0, cosine = 0;
  int64_t rows = 0;

  void Add(const Sums& other) {
    error += other.error;
    energy += other.energy;
    cosine += other.cosine;
    rows += other.rows;
  }
};

/// Rows are the last dimension's.
Sums Compare(const Tensor& wanted, const Tensor& found) {
  Sums sums;
  const Tensor a = wanted.ToFloat32(), b = found.ToFloat32();
  if (a.size() != b.size() || a.rank() == 0 || a.size() == 0) return sums;
  const int64_t width = a.dim(a.rank() - 1);
  const auto x = a.data<float>(), y = b.data<float>();
  for (int64_t row = 0; row < a.size() / width; ++row) {
    double dot = 0, own = 0, other = 0, error = 0;
    for (int64_t j = row * width; j < (row + 1) * width; ++j) {
      const double u = x[size_t(j)], v = y[size_t(j)];
      dot += u * v;
      own += u * u;
      other += v * v;
      error += (u - v) * (u - v);
    }
    sums.error += error;
    sums.energy += own;
    sums.cosine += own > 0 && other > 0 ? dot / std::sqrt(own * other) : (own == other ? 1 : 0);
    ++sums.rows;
  }
  return sums;
}

struct SharedValue {
  ValueId own = kNoValue, other = kNoValue;
  size_t segment = 0;
};

/// Floats that a segment hands on and that both graphs have.
std::vector<SharedValue> SharedValues(const Executor& executor, const Graph& other) {
  std::vector<SharedValue> shared;
  const auto& segments = executor.plan().segments();
  const Graph& graph = executor.graph();
  for (size_t i = 0; i < segments.size(); ++i) {
    for (const ValueId value : segments[i].live_out) {
      const Value& own = graph.value(value);
      if (own.producer < 0) continue;
      const bool made_here = std::ranges::none_of(
          shared, [&](const SharedValue& known) { return known.own == value; });
      const ValueId there = other.Find(own.name);
      if (made_here && there != kNoValue) shared.push_back({value, there, i});
    }
  }
  return shared;
}

}  // namespace

std::vector<SegmentError> GrowthOf(const Source& source, const Plan& plan,
                                   const std::filesystem::path& result,
                                   std::span<const std::vector<int64_t>> texts) {
  const Model model = Model::Load(result);
  const Graph graph(model);
  const Executor other(graph);
  other.plan().RequireKernels();
  const std::vector<SharedValue> shared = SharedValues(source.executor, graph);
  std::vector<ValueId> own_ids, other_ids;
  for (const SharedValue& value : shared) {
    own_ids.push_back(value.own);
    other_ids.push_back(value.other);
  }
  const Probe wanted(source.executor, source.model.directory(), own_ids);
  const Probe found(other, model.directory(), other_ids);
  std::vector<std::vector<Sums>> of_texts(texts.size(), std::vector<Sums>(shared.size()));
  Progress progress("comparing layers", std::ssize(texts));
  for (int64_t begin = 0; begin < std::ssize(texts); begin += kTextsTogether) {
    CheckInterrupt();
    const int64_t count = std::min(kTextsTogether, std::ssize(texts) - begin);
    ParallelFor(count, [&](int64_t i) {
      const auto& ids = texts[size_t(begin + i)];
      const Values a = wanted.Run(ids), b = found.Run(ids);
      for (size_t v = 0; v < shared.size(); ++v) {
        const auto x = a.find(shared[v].own), y = b.find(shared[v].other);
        if (x == a.end() || y == b.end() || !IsFloat(x->second.dtype())) continue;
        of_texts[size_t(begin + i)][v] = Compare(x->second, y->second);
      }
      progress.Advance();
    });
  }
  std::vector<SegmentError> growth;
  const size_t segments = source.executor.plan().segments().size();
  for (size_t segment = 0; segment < segments; ++segment) {
    Sums sums;
    SegmentError error;
    for (size_t v = 0; v < shared.size(); ++v) {
      if (shared[v].segment != segment) continue;
      for (const auto& text : of_texts) sums.Add(text[v]);
      error.value = source.graph.value(shared[v].own).name;
    }
    if (sums.rows == 0 || !(sums.energy > 0)) continue;
    for (const Site& site : plan.sites) {
      if (site.segment != segment || site.linears.empty() || !error.linear.empty()) continue;
      error.linear = plan.linears[size_t(site.linears.front())].name;
    }
    error.cosine = sums.cosine / double(sums.rows);
    error.relative_error = sums.error / sums.energy;
    growth.push_back(std::move(error));
  }
  return growth;
}

}  // namespace ptq
