// What the decisions about tensors of all kinds share.
#include "decide.h"

#include <algorithm>
#include <cmath>

#include "ptq/base/half.h"

namespace ptq {

bool FitsHalf(const Graph& graph, ValueId stored) {
  const StoredTensor& proto = *graph.value(stored).constant;
  const WeightReader& weights = graph.model().weights();
  const Tensor values = weights.Read(proto);
  const auto elements = values.data<float>();
  constexpr size_t kChunk = size_t{1} << 20;
  bool fits = true;
  for (size_t begin = 0; fits && begin < elements.size(); begin += kChunk) {
    const auto chunk = elements.subspan(begin, std::min(kChunk, elements.size() - begin));
    // Written so that NaN fails.
    fits = std::ranges::all_of(chunk, [](float value) { return std::abs(value) <= kHalfMax; });
    weights.Drop(proto);
  }
  return fits;
}

void Keep(Subject& subject, const std::string& reason) {
  subject.decision.form = &KeepForm();
  subject.decision.reason = reason;
}

void KeepAsked(Subject& subject, const std::string& reason) {
  Keep(subject, reason);
  subject.decision.asked = true;
}

TensorFacts FactsOf(SubjectKind kind, const Subject& subject) {
  TensorFacts facts;
  facts.kind = kind;
  facts.n = subject.n;
  facts.k = subject.k;
  facts.stored = subject.stored_type;
  return facts;
}

TensorFacts FactsOf(const Graph& graph, const Table& table) {
  TensorFacts facts = FactsOf(SubjectKind::kTable, table);
  facts.compute = table.operand_type;
  facts.opset = graph.model().Opset("");
  facts.tied = !table.linears.empty();
  return facts;
}

TensorFacts FactsOf(const Graph& graph, const Constant& constant) {
  TensorFacts facts = FactsOf(SubjectKind::kConstant, constant);
  facts.compute = constant.operand_type;
  facts.opset = graph.model().Opset("");
  return facts;
}

TensorFacts FactsOf(const Graph& graph, const Linear& linear) {
  SubjectKind kind = linear.gather >= 0 ? SubjectKind::kStack : SubjectKind::kLinear;
  if (linear.IsExpert()) kind = SubjectKind::kExpert;
  TensorFacts facts = FactsOf(kind, linear);
  facts.experts = linear.experts;
  facts.swapped = !linear.operand_is_nk;
  facts.compute = linear.operand_type;
  facts.opset = graph.model().Opset("");
  return facts;
}

}  // namespace ptq
