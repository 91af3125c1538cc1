// Feeds the body of a Loop, Scan or SequenceMap once an iteration, and stacks what it gives.
#include "iterate.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "ptq/base/error.h"
#include "ptq/tensor/along_axis.h"
#include "ptq/tensor/sequence.h"

namespace ptq {
namespace {

using Tensors = std::vector<Tensor>;

/// More than the tokens that any model writes or reads one by one.
constexpr int64_t kMostRounds = int64_t{1} << 18;

class Iterator {
 public:
  Iterator(const Graph& graph, int node, const BodyFunction& body)
      : graph_(graph),
        node_(graph.nodes()[size_t(node)]),
        scope_(graph.scope(graph.BodyIn(node))),
        body_(body) {}

  Tensors Loop(Tensors inputs) {
    if (inputs.size() < 2) inputs.resize(2);
    const size_t carried = inputs.size() - 2;
    Expect(carried + 2, carried + 1);
    const int64_t trips =
        inputs[0].defined() ? inputs[0].ToInt64s().at(0) : std::numeric_limits<int64_t>::max();
    bool goes_on = !inputs[1].defined() || Condition(inputs[1]);
    Tensors state(std::make_move_iterator(inputs.begin() + 2),
                  std::make_move_iterator(inputs.end()));
    inputs.clear();
    StartStacks(carried + 1);
    for (int64_t i = 0; i < trips && goes_on; ++i) {
      if (i == kMostRounds) RefuseEndless();
      Tensors formal = {Tensor::Filled<int64_t>(ScalarShape(0), i),
                        Tensor::Filled<bool>(ScalarShape(1), true)};
      std::ranges::move(state, std::back_inserter(formal));
      Tensors given = body_(std::move(formal));
      goes_on = Condition(given.at(0));
      state.assign(std::make_move_iterator(given.begin() + 1),
                   std::make_move_iterator(given.begin() + 1 + int64_t(carried)));
      Collect(given, carried + 1);
    }
    for (size_t i = 0; i < stacks_.size(); ++i) state.push_back(Stacked(carried + 1 + i, 0, false));
    return state;
  }

  Tensors Scan(Tensors inputs) {
    const auto scanned = size_t(node_.RequiredInt("num_scan_inputs"));
    if (scanned == 0 || scanned > inputs.size()) {
      throw InputError("num_scan_inputs is " + std::to_string(scanned) + " of " +
                       std::to_string(inputs.size()) + " inputs");
    }
    const size_t states = inputs.size() - scanned;
    Expect(inputs.size(), states);
    std::vector<size_t> axes;
    int64_t length = -1;
    for (size_t i = 0; i < scanned; ++i) {
      const Tensor& input = inputs[states + i];
      axes.push_back(size_t(NormalizeAxis(Nth("scan_input_axes", i), input.rank())));
      const int64_t own = input.shape()[axes.back()];
      if (length >= 0 && own != length) {
        throw InputError("scanned inputs have " + std::to_string(length) + " and " +
                         std::to_string(own) + " elements along their axes");
      }
      length = own;
    }
    Tensors state(inputs.begin(), inputs.begin() + int64_t(states));
    StartStacks(states);
    for (int64_t step = 0; step < length; ++step) {
      for (size_t i = 0; i < scanned; ++i) {
        const bool backward = Nth(DirectionsName(), i) != 0;
        state.push_back(
            PlaceAlong(inputs[states + i], int64_t(axes[i]), backward ? length - 1 - step : step));
      }
      Tensors given = body_(std::move(state));
      state.assign(given.begin(), given.begin() + int64_t(states));
      Collect(given, states);
    }
    for (size_t i = 0; i < stacks_.size(); ++i) {
      state.push_back(
          Stacked(states + i, Nth("scan_output_axes", i), Nth("scan_output_directions", i) != 0));
    }
    return state;
  }

  /// Opset 8: everything has a batch in front, and sequences may have lengths of their own.
  Tensors BatchedScan(Tensors inputs) {
    if (inputs.size() < 2) throw InputError("Scan has too few inputs");
    const Tensor lengths = std::move(inputs.front());
    inputs.erase(inputs.begin());
    const auto scanned = size_t(node_.RequiredInt("num_scan_inputs"));
    const int64_t batch = inputs.back().dim(0);
    const int64_t longest = inputs.back().dim(1);
    const std::vector<int64_t> own =
        lengths.defined() ? lengths.ToInt64s() : std::vector<int64_t>(size_t(batch), longest);
    std::vector<Tensors> outputs;  // by output, then by batch
    for (int64_t b = 0; b < batch; ++b) {
      Tensors item;
      for (size_t i = 0; i < inputs.size(); ++i) {
        item.push_back(PlaceAlong(inputs[i], 0, b));
        const bool cut = i + scanned >= inputs.size() && own.at(size_t(b)) < longest;
        if (cut) item.back() = PartAlong(item.back(), 0, 0, own[size_t(b)]);
      }
      Tensors given = Scan(std::move(item));
      outputs.resize(given.size());
      for (size_t i = 0; i < given.size(); ++i) {
        if (i + scanned >= inputs.size()) given[i] = Padded(given[i], longest);
        outputs[i].push_back(std::move(given[i]));
      }
    }
    if (batch == 0) throw UnsupportedError("a Scan of opset 8 over an empty batch");
    Tensors results;
    results.reserve(outputs.size());
    for (const Tensors& parts : outputs) results.push_back(StackAlong(parts, 0));
    return results;
  }

  Tensors SequenceMap(const Tensors& inputs) {
    Expect(inputs.size(), 0);
    if (inputs.empty() || inputs[0].dtype() != kSequence) {
      throw InputError("the first input must be a sequence");
    }
    std::vector<Tensors> outputs(scope_.outputs.size());
    for (size_t i = 0; i < ElementsOf(inputs[0]).size(); ++i) {
      Tensors formal;
      for (const Tensor& input : inputs) {
        const bool sequence = input.dtype() == kSequence;
        if (sequence && i >= ElementsOf(input).size()) {
          throw InputError("its sequences have different lengths");
        }
        formal.push_back(sequence ? ElementsOf(input)[i] : input);
      }
      Tensors given = body_(std::move(formal));
      for (size_t j = 0; j < outputs.size(); ++j) outputs[j].push_back(std::move(given[j]));
    }
    Tensors results;
    for (Tensors& elements : outputs) results.push_back(MakeSequence(std::move(elements)));
    return results;
  }

 private:
  [[noreturn]] static void RefuseEndless() {
    throw UnsupportedError("the loop does not end within " + std::to_string(kMostRounds) +
                           " rounds; a condition that never fails, or inputs that ask for it");
  }

  void Expect(size_t inputs, size_t least_outputs) const {
    if (scope_.inputs.size() == inputs && scope_.outputs.size() >= least_outputs) return;
    throw InputError("its body has " + std::to_string(scope_.inputs.size()) + " inputs and " +
                     std::to_string(scope_.outputs.size()) + " outputs where " +
                     std::to_string(inputs) + " and at least " + std::to_string(least_outputs) +
                     " are needed");
  }

  static bool Condition(const Tensor& tensor) {
    if (tensor.size() != 1) throw InputError("the condition must be one bool");
    return tensor.data<bool>()[0];
  }

  /// [] or [1], as the body declares its input.
  [[nodiscard]] Shape ScalarShape(size_t input) const {
    const auto declared = graph_.DeclaredType(scope_.inputs[input]);
    return Shape(declared.shape.has_value() ? declared.shape->size() : 0, 1);
  }

  [[nodiscard]] int64_t Nth(const char* attribute, size_t i) const {
    const auto values = node_.Ints(attribute);
    if (values.empty()) return 0;
    if (i >= values.size()) throw InputError(std::string(attribute) + " is too short");
    return values[i];
  }
  [[nodiscard]] const char* DirectionsName() const {
    return node_.opset() < 9 ? "directions" : "scan_input_directions";
  }

  void StartStacks(size_t first) { stacks_.assign(scope_.outputs.size() - first, {}); }
  void Collect(Tensors& given, size_t first) {
    for (size_t i = 0; i < stacks_.size(); ++i) stacks_[i].push_back(std::move(given[first + i]));
  }

  /// What an output of the body, by its number there, gave over all iterations.
  Tensor Stacked(size_t output, int64_t axis, bool backward) {
    Tensors& parts = stacks_[output - (scope_.outputs.size() - stacks_.size())];
    if (backward) std::ranges::reverse(parts);
    if (!parts.empty()) return StackAlong(parts, axis);
    const auto declared = graph_.DeclaredType(scope_.outputs[output]);
    if (declared.dtype == DType::kUndefined) {
      throw UnsupportedError("there is no iteration, and '" +
                             graph_.value(scope_.outputs[output]).name + "' has no declared type");
    }
    Shape shape = declared.shape.value_or(Shape());
    std::ranges::replace_if(
        shape, [](int64_t dim) { return dim < 0; }, 0);
    shape.insert(shape.begin() + NormalizeAxis(axis, int64_t(shape.size()) + 1), 0);
    return Tensor(declared.dtype, std::move(shape));
  }

  static Tensor Padded(const Tensor& tensor, int64_t count) {
    if (tensor.dim(0) == count) return tensor;
    Shape shape = tensor.shape();
    shape[0] = count;
    Tensor result(tensor.dtype(), shape);
    const auto to = result.mutable_bytes();
    std::ranges::fill(to, std::byte{0});
    std::ranges::copy(tensor.bytes(), to.begin());
    return result;
  }

  const Graph& graph_;
  const Node& node_;
  const Scope& scope_;
  const BodyFunction& body_;
  std::vector<Tensors> stacks_;  ///< by output that is stacked
};

}  // namespace

std::vector<Tensor> Iterate(const Graph& graph, int node, std::vector<Tensor> inputs,
                            const BodyFunction& body) {
  Iterator iterator(graph, node, body);
  const Node& view = graph.nodes()[size_t(node)];
  if (view.op_type() == "Loop") return iterator.Loop(std::move(inputs));
  if (view.op_type() == "SequenceMap") return iterator.SequenceMap(inputs);
  if (view.opset() < 9) return iterator.BatchedScan(std::move(inputs));
  return iterator.Scan(std::move(inputs));
}

}  // namespace ptq
