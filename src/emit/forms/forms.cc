// Lists the forms, and finds one by its name.
#include "forms.h"

#include <array>
#include <string>
#include <vector>

#include "ptq/base/error.h"
#include "ptq/emit/stored_codes.h"
#include "ptq/plan/recipe.h"

namespace ptq {
namespace {

template <class Writer>
const Writer& WriterAmong(std::span<const Writer* const> forms, const Form& form) {
  for (const Writer* known : forms) {
    if (known == &form) return *known;
  }
  throw InternalError("nobody writes the form '" + std::string(form.name()) + "'");
}

}  // namespace

std::span<const LinearForm* const> LinearForms() {
  static const auto kForms = std::to_array<const LinearForm*>({
#define PTQ_LINEAR_FORM(name) &name(),
#include "forms.inc"
  });
  return kForms;
}

std::span<const TableForm* const> TableForms() {
  static const auto kForms = std::to_array<const TableForm*>({
#define PTQ_TABLE_FORM(name) &name(),
#include "forms.inc"
  });
  return kForms;
}

std::span<const FilterForm* const> FilterForms() {
  static const auto kForms = std::to_array<const FilterForm*>({
#define PTQ_FILTER_FORM(name) &name(),
#include "forms.inc"
  });
  return kForms;
}

std::span<const CodeForm> CodeForms() {
  static const auto kForms = [] {
    std::vector<CodeForm> forms;
    for (const LinearForm* form : LinearForms()) forms.push_back({form, &form->tables()});
    return forms;
  }();
  return kForms;
}

std::vector<onnx::NodeProto> LinearForm::EmitExperts(const ExpertsToEmit& /*experts*/,
                                                     TensorSink& /*sink*/) const {
  throw InternalError("the form '" + std::string(name()) + "' holds no experts");
}

const LinearForm& WriterOf(const Form& form) { return WriterAmong(LinearForms(), form); }
const TableForm& TableWriterOf(const Form& form) { return WriterAmong(TableForms(), form); }
const FilterForm& FilterWriterOf(const Form& form) { return WriterAmong(FilterForms(), form); }

const LinearForm& FindLinearForm(std::string_view name) {
  std::string known;
  for (const LinearForm* form : LinearForms()) {
    if (form->name() == name) return *form;
    known += (known.empty() ? "" : ", ") + std::string(form->name());
  }
  throw UsageError("unknown format '" + std::string(name) + "'; known formats: " + known);
}

void CheckForms(const Recipe& recipe) {
  const LinearForm& form = FindLinearForm(recipe.format);
  const FormParameters parameters = PlanOptionsOf(recipe, form).parameters;
  if (recipe.activations != form.activations(parameters) && !IsHalfMethod(recipe) &&
      recipe.activations != Activations::kFloat) {
    throw UsageError("the format '" + recipe.format + "' cannot have " +
                     std::string(ActivationsName(recipe.activations, recipe.activation_bits)) +
                     " activations: dynamic ones are those of matmulinteger, static ones of qdq");
  }
  if (recipe.activations == Activations::kStatic && (recipe.bits < 7 || recipe.group_size != 0)) {
    throw UsageError(
        "products of integers (--activations static) have weights of 8 bits with one scale a row: "
        "--bits 8 --group-size channel");
  }
  if (recipe.activation_bits != 8 && recipe.activations != Activations::kStatic) {
    throw UsageError(
        "levels of 16 bits are found beforehand (--activations static); those that each run finds "
        "have 8");
  }
  if (recipe.from_qat && IsHalfMethod(recipe)) {
    throw UsageError(
        "--from-qat keeps codes, and --method fp16 writes none; leave one of them out");
  }
  if (!IsHalfMethod(recipe)) form.CheckSpec(AsStored(parameters.spec));
  for (const Rule& rule : recipe.rules) {
    if (rule.form == KeepForm().name() || rule.form == HalfForm().name()) continue;
    const LinearForm& own = rule.form.empty() ? form : FindLinearForm(rule.form);
    FormParameters changed = parameters;
    rule.ApplyTo(changed);
    try {
      own.CheckSpec(AsStored(changed.spec));
    } catch (const UsageError& error) {
      throw UsageError(rule.where + ": '" + rule.pattern + "': " + error.what());
    }
  }
}

}  // namespace ptq
