// Asks each form that the plan uses, and collects the passes' part.
#include "transform_request.h"

#include <map>
#include <utility>
#include <vector>

#include "ptq/emit/linear_form.h"
#include "ptq/emit/stored_codes.h"
#include "ptq/emit/table_form.h"

namespace ptq {

TransformRequest RequestFor(const Plan& plan, onnx::ModelProto& model) {
  TransformRequest request;
  request.plan = &plan;
  request.sites = plan.sites;
  if (!plan.half.has_value()) request.halves = HalvedValues(plan);
  std::map<const Form*, std::vector<QuantSpec>> specs;
  for (const Linear& linear : plan.linears) {
    if (linear.decision.quantizes() && linear.table < 0) {
      specs[linear.decision.form].push_back(AsStored(linear.spec()));
    }
  }
  for (const LinearForm* form : LinearForms()) {
    const auto found = specs.find(form);
    if (found == specs.end()) continue;
    form->PrepareModel(model, found->second);
    auto [opset, reason] = form->OpsetNeeded(found->second);
    if (opset <= request.opset) continue;
    request.opset = opset;
    request.opset_reason = std::move(reason);
  }
  for (const Table& table : plan.tables) {
    if (table.decision.quantizes()) TableWriterOf(*table.decision.form).PrepareModel(model);
  }
  return request;
}

}  // namespace ptq
