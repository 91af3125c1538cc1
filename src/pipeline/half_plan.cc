// Asks the conversion what it would do, and lets the model run once to see how large its values
// are.
#include "half_plan.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "witness_sample.h"
#include <spdlog/spdlog.h>

#include "ptq/base/error.h"
#include "ptq/base/format.h"
#include "ptq/calibrate/observe_values.h"
#include "ptq/runtime/refused_input.h"
#include "ptq/transform/half_graph.h"

namespace ptq {
namespace {

/// Tokens of samples that are looked at: values that are too large for FP16 appear in any text.
constexpr int64_t kTokensSeen = 4096;

void Decide(const HalfDecisions& decisions, const Graph& graph, Subject& subject) {
  if (subject.decision.quantizes() || subject.stored == kNoValue) return;
  const auto found = decisions.constants.find(graph.value(subject.stored).name);
  if (found == decisions.constants.end()) return;
  const bool halved = found->second.empty() && subject.stored_type != DType::kFloat16;
  if (halved) {
    subject.decision.form = &HalfForm();
    if (!subject.decision.reason.starts_with("LM head")) subject.decision.reason.clear();
    return;
  }
  subject.decision.form = &KeepForm();
  if (!subject.decision.asked) subject.decision.reason = found->second;
  if (subject.stored_type == DType::kFloat16) subject.decision.reason = "FP16 already";
}

/// Codes are multiplied by scales of the type that their readers compute in.
void SetType(bool half, auto& subject) {
  subject.operand_type = half ? DType::kFloat16 : DType::kFloat32;
  subject.decision.parameters.spec.scale_type = half ? ScaleType::kFloat16 : ScaleType::kFloat32;
}

/// A quantized linear's scales have the type of its activations.
void DecideType(const HalfDecisions& decisions, const Graph& graph, Linear& linear) {
  if (!linear.decision.quantizes() || linear.operand_type == DType::kFloat64) return;
  const int node = linear.gather >= 0 ? linear.gather : linear.node;
  const bool half = decisions.halved.contains(graph.nodes()[size_t(node)].output(0));
  SetType(half, linear);
}

/// Rows of codes have the type of what they are looked up for, or of a linear that shares them.
void DecideType(const HalfDecisions& decisions, const Graph& graph, const Plan& plan,
                Table& table) {
  if (!table.decision.quantizes()) return;
  const bool half =
      table.linears.empty()
          ? std::ranges::all_of(table.lookups,
                                [&](int node) {
                                  const Node& lookup = graph.nodes()[size_t(node)];
                                  return decisions.halved.contains(lookup.output(0));
                                })
          : plan.linears[size_t(table.linears.front())].operand_type == DType::kFloat16;
  SetType(half, table);
}

/// Filters have the type that their convolutions compute in.
void DecideType(const HalfDecisions& decisions, const Graph& graph, Constant& constant) {
  if (!constant.decision.quantizes()) return;
  const bool half = std::ranges::all_of(constant.convolutions, [&](int node) {
    return decisions.halved.contains(graph.nodes()[size_t(node)].output(0));
  });
  SetType(half, constant);
}

std::string SomeOf(const std::vector<std::string>& names) {
  constexpr size_t kShown = 3;
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), kShown); ++i) {
    text += (i == 0 ? "'" : ", '") + names[i] + "'";
  }
  if (names.size() > kShown) text += " and " + std::to_string(names.size() - kShown) + " more";
  return text;
}

std::vector<std::string> NotesOf(const HalfDecisions& decisions) {
  std::vector<std::string> notes;
  if (!decisions.clamped.empty()) {
    notes.push_back("masks are clamped to -65504, the end of FP16: " + SomeOf(decisions.clamped));
  }
  std::vector<std::string> large;
  for (const Island& island : decisions.islands) {
    if (island.reason == IslandReason::kLarge) large.push_back(island.node);
  }
  if (!large.empty()) {
    notes.push_back("computed in FP32, since values beyond " + std::to_string(int(kLargestSeen)) +
                    " were seen there: " + SomeOf(large));
  }
  return notes;
}

/// The largest finite |x|; infinite when there is an infinity.
float LargestOf(const Tensor& tensor) {
  float largest = 0;
  for (const float value : tensor.data<float>()) {
    if (!std::isnan(value)) largest = std::max(largest, std::abs(value));
  }
  return largest;
}

/// Runs the whole graph on some inputs; returns the values that are too large.
std::vector<ValueId> LargeValues(const Executor& executor, std::vector<Values> inputs) {
  std::mutex mutex;
  std::set<ValueId> large;
  const auto see = [&](ValueId id, const Tensor& value) {
    if (value.dtype() != DType::kFloat32 || LargestOf(value) <= kLargestSeen) return;
    const std::lock_guard lock(mutex);
    large.insert(id);
  };
  for (const Values& values : inputs) {
    for (const auto& [id, tensor] : values) see(id, tensor.Widened());
  }
  const auto taps = [&](const Segment& segment) {
    std::vector<ValueId> values;
    for (int step = segment.begin; step < segment.end; ++step) {
      const int node = executor.plan().steps()[size_t(step)].node;
      for (const ValueId id : executor.graph().outputs(node)) {
        if (id != kNoValue && !executor.plan().IsConstant(id)) values.push_back(id);
      }
    }
    return values;
  };
  ObserveValues(executor, std::move(inputs), {taps, see});
  return {large.begin(), large.end()};
}

/// What the model reads: the beginning of the samples, or what is made up where there are none.
std::vector<Values> InputsToSee(const Source& source, const Recipe& recipe,
                                const RunContext& context) {
  std::vector<Values> inputs;
  try {
    inputs = SampleInputs(source, recipe, context, kTokensSeen).inputs;
  } catch (const InputError& error) {
    if (!recipe.calibration.files.empty()) throw;
    spdlog::debug(std::string("a sample is made up: ") + error.what());
  }
  if (inputs.empty()) inputs.push_back(WitnessInputs(source, nullptr, context.inputs));
  return inputs;
}

/// Whether the model can be run, or a note of the report that it cannot.
bool CanObserve(const Source& source, RunReport& report, const std::function<void()>& observe) {
  std::string why;
  try {
    source.executor.plan().RequireKernels();
    observe();
    return true;
  } catch (const UnsupportedError& error) {
    why = error.what();
  } catch (const RefusedInput& error) {
    why = error.what();
  }
  report.notes.push_back("values too large for FP16 were not looked for: " + why);
  return false;
}

}  // namespace

void DecideHalves(const Source& source, RunReport& report) {
  Plan& plan = report.plan;
  if (!plan.half.has_value()) return;
  const HalfDecisions decisions = PlanHalfGraph(source.graph, plan);
  for (Linear& linear : plan.linears) {
    Decide(decisions, source.graph, linear);
    DecideType(decisions, source.graph, linear);
  }
  for (Table& table : plan.tables) {
    Decide(decisions, source.graph, table);
    DecideType(decisions, source.graph, plan, table);
  }
  for (Constant& constant : plan.constants) {
    Decide(decisions, source.graph, constant);
    DecideType(decisions, source.graph, constant);
  }
  CountBytes(source.graph, plan);
  report.islands.clear();
  for (const Island& island : decisions.islands) {
    ++report.islands[std::string(IslandName(island.reason))];
  }
  for (std::string& note : NotesOf(decisions)) {
    if (std::ranges::find(report.notes, note) == report.notes.end()) {
      report.notes.push_back(std::move(note));
    }
  }
}

void TryObserving(const Source& source, const Recipe& recipe, const RunContext& context,
                  RunReport& report) {
  if (!report.plan.half.has_value()) return;
  (void)CanObserve(source, report, [&] { (void)InputsToSee(source, recipe, context); });
}

void ObserveLargeValues(const Source& source, const Recipe& recipe, const RunContext& context,
                        RunReport& report) {
  if (!report.plan.half.has_value()) return;
  std::vector<ValueId> large;
  const bool seen = CanObserve(source, report, [&] {
    large = LargeValues(source.executor, InputsToSee(source, recipe, context));
  });
  if (seen) report.plan.half->large = std::move(large);
}

}  // namespace ptq
