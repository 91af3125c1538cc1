// Gives a tensor the form that is asked for, or the first of its fallbacks that accepts it.
#include <algorithm>

#include "decide.h"

#include "ptq/base/error.h"

namespace ptq {

const CodeForm* FindCodes(const PlanOptions& options, std::string_view name) {
  const auto found = std::ranges::find(options.forms, name,
                                       [](const CodeForm& form) { return form.linears->name(); });
  return found == options.forms.end() ? nullptr : &*found;
}

const Form& FindForm(const PlanOptions& options, std::string_view name) {
  for (const Form* form : {options.codes, &KeepForm(), &HalfForm()}) {
    if (form->name() == name) return *form;
  }
  const CodeForm* const found = FindCodes(options, name);
  if (found == nullptr) throw UsageError("there is no form '" + std::string(name) + "'");
  return *found->linears;
}

bool ChooseForm(const Graph& graph, const PlanOptions& options, const Form& form, TensorFacts facts,
                Subject& subject) {
  std::string refusals;
  const auto accepts = [&](const Form& tried) {
    if (tried.storage() == Storage::kHalf && facts.stored == DType::kFloat32) {
      facts.fits_half = FitsHalf(graph, subject.stored);
    }
    FormParameters parameters = subject.decision.parameters;
    parameters.spec.codebook = tried.codebook();
    const std::string refusal = tried.Refusal(facts, parameters);
    if (refusal.empty()) {
      subject.decision.form = &tried;
      subject.decision.parameters = parameters;
      return true;
    }
    if (refusals.find(refusal) == std::string::npos) {
      refusals += (refusals.empty() ? "" : "; ") + refusal;
    }
    return false;
  };
  if (accepts(form)) return true;
  for (const std::string_view name : form.Fallbacks()) {
    const CodeForm* const next = FindCodes(options, name);
    if (next == nullptr || !accepts(*next->linears)) continue;
    subject.decision.reason = "not " + std::string(form.name()) + ": " + refusals;
    return true;
  }
  Keep(subject, refusals);
  return false;
}

}  // namespace ptq
