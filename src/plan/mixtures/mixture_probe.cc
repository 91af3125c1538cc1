// Runs the glue between the products of a mixture, and compares with the definition of one.
#include "mixtures/mixture_probe.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <string>

#include "ptq/base/error.h"

namespace ptq {
namespace {

/// A constant with more elements is no index, shape or factor.
constexpr int64_t kMostElements = 1 << 16;

/// What stands for element `j` of x[k] · W, of part and expert: two elements of x each, by other
/// rules, so that no two of them agree.
double SmallProduct(ExpertPart part, int64_t expert, int64_t j, const double* x, int64_t k) {
  const auto at = [&](int64_t i) { return x[i % k]; };
  const double own = 0.1 * double(expert % 7);
  switch (part) {
    case ExpertPart::kGate: return (0.9 - own) * at(3 * j + expert) - 0.4 * at(j + 2 * expert + 1);
    case ExpertPart::kValue: return (0.7 + own) * at(5 * j + 2 * expert + 1) + 0.3 * at(j + 3);
    case ExpertPart::kDown: return (0.5 + own) * at(j + expert) - 0.6 * at(2 * j + 1 + expert);
    case ExpertPart::kUp:
    case ExpertPart::kBoth: break;
  }
  throw InternalError("a part of an expert that has no product of its own");
}

/// The same for row `j` of a weight that has `n` of them.
double RowOf(ExpertPart part, int64_t expert, int64_t j, int64_t n, const double* x, int64_t k) {
  if (part != ExpertPart::kBoth) return SmallProduct(part, expert, j, x, k);
  const bool gate = j < n / 2;
  return SmallProduct(gate ? ExpertPart::kGate : ExpertPart::kValue, expert, gate ? j : j - n / 2,
                      x, k);
}

double Silu(double x) { return x / (1 + std::exp(-x)); }

/// The same on every machine.
std::vector<float> RandomFloats(int64_t count, std::mt19937& random) {
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = float(random() >> 8) / float(1 << 23) - 1;
  return values;
}

}  // namespace

bool IsMixtureGlue(const Node& node) {
  static const std::set<std::string> kGlue = {
      "Add",       "Cast",     "Concat",  "Constant", "ConstantOfShape", "Div",
      "Einsum",    "Equal",    "Expand",  "Flatten",  "Gather",          "GatherElements",
      "GatherND",  "Identity", "Mul",     "NonZero",  "OneHot",          "QuickGelu",
      "ReduceSum", "Reshape",  "Scatter", "Shape",    "ScatterElements", "ScatterND",
      "Sigmoid",   "Size",     "Slice",   "Softmax",  "Split",           "Squeeze",
      "Sub",       "Swish",    "Tile",    "TopK",     "Transpose",       "Unsqueeze",
      "Where"};
  return kGlue.contains(node.op_type());
}

MixtureProbe::MixtureProbe(const ExecutionPlan& execution, const std::vector<Linear>& linears,
                           const Mixture& mixture, ValueId root)
    : execution_(execution),
      graph_(execution.graph()),
      linears_(linears),
      mixture_(mixture),
      root_(root),
      width_(linears[size_t(mixture.members.front().first)].k) {
  for (const auto& [index, place] : mixture.members) {
    const Linear& linear = linears[size_t(index)];
    products_[linear.node] = {index, place};
    if (place.part == ExpertPart::kDown) inner_ = linear.k;
    tolerance_ = linear.operand_type == DType::kFloat32 ? 1e-4 : 5e-3;
  }
}

void MixtureProbe::Begin(int64_t tokens, bool has_batch) {
  std::mt19937 random(29);
  tokens_ = tokens;
  x_ = RandomFloats(tokens * width_, random);
  logits_ = RandomFloats(tokens * mixture_.experts, random);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t i = 0; i < mixture_.chosen; ++i) {
      const int64_t expert = (t * mixture_.chosen + i) % mixture_.experts;
      logits_[size_t(t * mixture_.experts + expert)] += 2;
    }
  }
  const int64_t batch = tokens % 2 == 0 ? 2 : 1;
  const Shape shape = has_batch ? Shape{batch, tokens / batch, width_} : Shape{tokens, width_};
  known_.clear();
  known_[root_] = Tensor::From<float>(shape, std::span<const float>(x_));
  known_[mixture_.logits] =
      Tensor::From<float>({tokens, mixture_.experts}, std::span<const float>(logits_));
}

bool MixtureProbe::Collect(ValueId goal, std::set<int>& nodes) const {
  std::vector<ValueId> open = {goal};
  while (!open.empty()) {
    const ValueId id = open.back();
    open.pop_back();
    if (id == kNoValue || known_.contains(id)) continue;
    const Value& value = graph_.value(id);
    if (value.constant != nullptr) {
      int64_t size = 1;
      for (const int64_t dim : value.constant->dims()) size *= dim;
      if (size > kMostElements) return false;
      continue;
    }
    if (value.producer < 0) return false;
    if (!nodes.insert(value.producer).second) continue;
    const auto& inputs = graph_.inputs(value.producer);
    if (const auto product = products_.find(value.producer); product != products_.end()) {
      const Linear& linear = linears_[size_t(product->second.first)];
      open.push_back(linear.site);
      if (linear.gather >= 0) open.push_back(graph_.inputs(linear.gather)[1]);
      continue;
    }
    const bool runs = execution_.steps()[size_t(value.producer)].kernel != nullptr;
    if (!runs || !IsMixtureGlue(graph_.nodes()[size_t(value.producer)])) return false;
    open.insert(open.end(), inputs.begin(), inputs.end());
  }
  return true;
}

void MixtureProbe::RunProduct(const Linear& linear, const ExpertPlace& place) {
  const Tensor& x = known_.at(linear.site);
  const bool gathers = linear.gather >= 0;
  if (x.rank() < (gathers ? 2 : 1) || x.dim(-1) != linear.k) throw InputError("another shape");
  const int64_t rows = x.size() / linear.k;
  const int64_t n = linear.n / linear.experts;
  std::vector<int64_t> experts(size_t(rows), place.expert);
  if (gathers) {
    const auto picked = known_.at(graph_.inputs(linear.gather)[1]).ToInt64s();
    const int64_t together = x.dim(-2);
    if (int64_t(picked.size()) * together != rows) throw InputError("another shape");
    for (int64_t r = 0; r < rows; ++r) experts[size_t(r)] = picked[size_t(r / together)];
  }
  Shape shape = x.shape();
  shape.back() = n;
  Tensor y(DType::kFloat32, shape);
  const auto in = x.data<float>();
  const auto out = y.mutable_data<float>();
  for (int64_t r = 0; r < rows; ++r) {
    const auto* const begin = in.data() + r * linear.k;
    const std::vector<double> row(begin, begin + linear.k);
    for (int64_t j = 0; j < n; ++j) {
      out[size_t(r * n + j)] =
          float(RowOf(place.part, experts[size_t(r)], j, n, row.data(), linear.k));
    }
  }
  known_[graph_.outputs(linear.node)[0]] = std::move(y);
}

void MixtureProbe::RunNode(int node) {
  if (const auto product = products_.find(node); product != products_.end()) {
    const auto& [index, place] = product->second;
    return RunProduct(linears_[size_t(index)], place);
  }
  std::vector<Tensor> inputs;
  for (const ValueId id : graph_.inputs(node)) {
    if (id == kNoValue) {
      inputs.emplace_back();
    } else if (const StoredTensor* const stored = graph_.value(id).constant; stored != nullptr) {
      inputs.push_back(graph_.model().weights().Read(*stored).Widened());
    } else {
      inputs.push_back(known_.at(id));
    }
  }
  const auto& outputs = graph_.outputs(node);
  KernelContext context(std::move(inputs), outputs.size(), std::vector<bool>(outputs.size(), true));
  execution_.steps()[size_t(node)].kernel->Run(context);
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i] != kNoValue) known_[outputs[i]] = context.outputs()[i].Widened();
  }
}

std::optional<Tensor> MixtureProbe::Find(ValueId id) {
  std::set<int> nodes;
  if (!Collect(id, nodes)) return std::nullopt;
  try {
    for (const int node : nodes) RunNode(node);
  } catch (const InputError&) {  // another shape than it was made for
    return std::nullopt;
  } catch (const UnsupportedError&) {
    return std::nullopt;
  }
  const auto found = known_.find(id);
  return found == known_.end() ? std::nullopt : std::optional(found->second);
}

std::vector<float> MixtureProbe::Expected(bool normalizes) const {
  std::vector<float> y(size_t(tokens_ * width_));
  const int64_t experts = mixture_.experts;
  for (int64_t t = 0; t < tokens_; ++t) {
    const float* const logits = logits_.data() + t * experts;
    const std::vector<double> x(x_.data() + t * width_, x_.data() + (t + 1) * width_);
    std::vector<int64_t> order(static_cast<size_t>(experts));
    std::iota(order.begin(), order.end(), 0);
    std::ranges::sort(order, [&](int64_t a, int64_t b) { return logits[a] > logits[b]; });
    double sum = 0;
    for (int64_t i = 0; i < (normalizes ? mixture_.chosen : experts); ++i) {
      sum += std::exp(double(logits[order[size_t(i)]]));
    }
    for (int64_t i = 0; i < mixture_.chosen; ++i) {
      const int64_t expert = order[size_t(i)];
      std::vector<double> h(static_cast<size_t>(inner_));
      for (int64_t j = 0; j < inner_; ++j) {
        h[size_t(j)] = Silu(SmallProduct(ExpertPart::kGate, expert, j, x.data(), width_)) *
                       SmallProduct(ExpertPart::kValue, expert, j, x.data(), width_);
      }
      const double weight = std::exp(double(logits[expert])) / sum;
      for (int64_t j = 0; j < width_; ++j) {
        y[size_t(t * width_ + j)] +=
            float(weight * SmallProduct(ExpertPart::kDown, expert, j, h.data(), inner_));
      }
    }
  }
  return y;
}

bool MixtureProbe::IsTokens(const std::optional<Tensor>& value,
                            const std::vector<float>& expected) const {
  if (!value || value->dtype() != DType::kFloat32 || value->shape() != Shape{tokens_, width_}) {
    return false;
  }
  const auto actual = value->data<float>();
  float largest = 0;
  for (const float element : expected) largest = std::max(largest, std::abs(element));
  for (size_t i = 0; i < expected.size(); ++i) {
    if (!(std::abs(actual[i] - expected[i]) <= tolerance_ * largest)) return false;
  }
  return true;
}

std::optional<Mixture> MixtureProbe::Complete(const std::vector<ValueId>& rows,
                                              const std::vector<ValueId>& outputs) {
  const int64_t all = mixture_.experts / mixture_.chosen + 2;
  for (const bool has_batch : {true, false}) {
    Begin(all + all % 2, has_batch);
    Mixture found = mixture_;
    for (const ValueId id : rows) {
      if (found.rows == kNoValue && IsTokens(Find(id), x_)) found.rows = id;
    }
    if (found.rows == kNoValue) continue;
    const std::vector<float> plain = Expected(false), normalized = Expected(true);
    for (const ValueId id : outputs) {
      const auto value = Find(id);
      found.normalizes = IsTokens(value, normalized);
      if (!found.normalizes && !IsTokens(value, plain)) continue;
      found.output = id;
      break;
    }
    if (found.output == kNoValue) continue;
    Begin(1, has_batch);
    if (!IsTokens(Find(found.rows), x_)) continue;
    if (IsTokens(Find(found.output), Expected(found.normalizes))) return found;
  }
  return std::nullopt;
}

}  // namespace ptq
