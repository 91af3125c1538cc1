// Decisions about the tensors of a plan.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ptq/plan/plan.h"

namespace ptq {

/// Gives every linear a form, or keeps it with a reason; those of the plan's mixtures that become
/// one node get their place. Throws UsageError for a pattern that matches nothing, UnsupportedError
/// when all that are to be quantized are refused.
void DecideLinears(const ExecutionPlan& execution, const PlanOptions& options, Plan& plan);

/// What is asked for a table.
struct TableRequest {
  const Form* codes = &UnwrittenCodes();
  Precision precision = Precision::kKeep;
  FormParameters parameters;  ///< of codes, but for their bits
  int bits = 4;               ///< of codes below 8 bits: 4, or 2, which only rules ask for
};
/// Gives table `index` of the plan a form, or keeps it with a reason. A table that is tied to a
/// linear is stored once: it has the linear's form, or one set of codes serves both, which the
/// linear then is told, too. The linears are decided.
void DecideTable(const Graph& graph, const TableRequest& request, size_t index, Plan& plan);
/// Finds tables, and decides about all of them.
void DecideTables(const ExecutionPlan& execution, const PlanOptions& options, Plan& plan);

/// Decides about the filters of convolutions, which are among the linears, decided, as none that
/// can be quantized. Those that become codes are constants of the plan from now on.
void DecideConvolutions(const ExecutionPlan& execution, const PlanOptions& options, Plan& plan);

/// Finds the other constants, and decides what is still as it is: so, or FP16 where all floats
/// become that.
void DecideFloats(const ExecutionPlan& execution, const PlanOptions& options, Plan& plan);
/// Makes FP16 of what is still FP32, where that is possible; the reason says why not.
void HalveFloats(const Graph& graph, Subject& subject);

void Keep(Subject& subject, const std::string& reason);
/// The same, as the user asked.
void KeepAsked(Subject& subject, const std::string& reason);
/// The form of codes that linears know by that name; null: none.
[[nodiscard]] const CodeForm* FindCodes(const PlanOptions& options, std::string_view name);
/// The form of that name, among those that a plan may choose. Throws UsageError.
[[nodiscard]] const Form& FindForm(const PlanOptions& options, std::string_view name);
/// Gives a tensor a form with the parameters that it has, or the first of the form's fallbacks that
/// accepts it; the reason says why not the form itself. False when all refuse it, and it is kept.
/// `facts.fits_half` is found out when it matters.
bool ChooseForm(const Graph& graph, const PlanOptions& options, const Form& form, TensorFacts facts,
                Subject& subject);
/// What a form is told of a tensor that is no linear. `fits_half` is left true.
[[nodiscard]] TensorFacts FactsOf(SubjectKind kind, const Subject& subject);
[[nodiscard]] TensorFacts FactsOf(const Graph& graph, const Table& table);
[[nodiscard]] TensorFacts FactsOf(const Graph& graph, const Constant& constant);
/// Whether FP16 holds every element of a float32 constant; read once and let go.
[[nodiscard]] bool FitsHalf(const Graph& graph, ValueId stored);

/// Why the experts of one node cannot have codes together; empty when they can.
[[nodiscard]] std::string WhyExpertsDiffer(const std::vector<Linear*>& all);
/// The experts of a node stay as they are, with the reason, unless all of them get codes of one
/// specification: the node that holds these has them all.
void UniteExperts(const Graph& graph, std::vector<Linear>& linears);

}  // namespace ptq
