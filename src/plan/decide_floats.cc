// Decides what happens to the other constants, and to all that is FP32 still.
#include <algorithm>
#include <utility>

#include "decide.h"
#include "find_tensors.h"

namespace ptq {

void HalveFloats(const Graph& graph, Subject& subject) {
  if (!subject.decision.keeps() || subject.decision.ruled || subject.stored == kNoValue) return;
  if (subject.stored_type != DType::kFloat32) return;
  if (!MayChangeType(graph, subject.stored)) {
    if (subject.decision.reason.empty()) subject.decision.reason = "its users need it as it is";
    return;
  }
  TensorFacts facts = FactsOf(SubjectKind::kConstant, subject);
  facts.fits_half = FitsHalf(graph, subject.stored);
  const std::string refusal = HalfForm().Refusal(facts, subject.decision.parameters);
  if (!refusal.empty()) return Keep(subject, refusal);
  subject.decision.form = &HalfForm();
}

void DecideFloats(const ExecutionPlan& execution, const PlanOptions& options, Plan& plan) {
  const Graph& graph = execution.graph();
  for (Constant& constant : FindConstants(execution, plan)) {
    plan.constants.push_back(std::move(constant));
  }
  std::ranges::sort(plan.constants, {}, &Constant::stored);
  if (options.half_floats && !options.half_compute) {
    for (Linear& linear : plan.linears) HalveFloats(graph, linear);
    for (Table& table : plan.tables) HalveFloats(graph, table);
    for (Constant& constant : plan.constants) HalveFloats(graph, constant);
  }
}

void CountBytes(const Graph& graph, Plan& plan) {
  const auto count = [](Decision& decision, const TensorFacts& facts) {
    decision.bytes = decision.form->Bytes(facts, decision.parameters);
  };
  for (Linear& linear : plan.linears) {
    const TensorFacts facts = FactsOf(graph, linear);
    count(linear.decision, facts);
    linear.decision.bytes += int64_t(linear.constant_products.size()) *
                             linear.decision.form->BytesAgain(facts, linear.decision.parameters);
  }
  for (Table& table : plan.tables) count(table.decision, FactsOf(graph, table));
  for (Constant& constant : plan.constants) {
    count(constant.decision, FactsOf(graph, constant));
  }
}

}  // namespace ptq
