// Decides what happens to tables: as they are, FP16, or codes, which a tied linear may share.
#include <algorithm>
#include <bit>
#include <optional>
#include <set>
#include <string>

#include "decide.h"
#include "find_tensors.h"

#include "ptq/model/constant_view.h"

namespace ptq {
namespace {

/// Smaller tables are not worth codes: positions, token types.
constexpr int64_t kFewestRows = 256;

/// Where the elements of W[n, k] lie in a stored tensor, and the type in which the graph reads
/// them.
struct Place {
  ValueId stored = kNoValue;
  int64_t n = 0, k = 0;
  int64_t offset = 0, row_stride = 0, column_stride = 0;
  DType dtype = DType::kUndefined;
  bool operator==(const Place&) const = default;
};

/// Of a constant [n, k], or [k, n] when `transposed`; nothing when its elements are computed.
std::optional<Place> PlaceOf(const Graph& graph, ValueId constant, bool transposed) {
  const auto view = ViewConstant(graph, constant);
  if (!view || !view->placement || view->shape.size() != 2) return std::nullopt;
  const auto& strides = view->placement->strides;
  const size_t row = transposed ? 1 : 0;
  return Place{view->stored, view->shape[row], view->shape[1 - row], view->placement->offset,
               strides[row], strides[1 - row], view->dtype};
}

/// Nodes that read a constant, by way of those that move or convert it.
struct Readers {
  std::set<int> nodes;
  bool others = false;  ///< a subgraph, or the caller
};

void AddReaders(const Graph& graph, ValueId id, Readers& readers) {
  const Value& value = graph.value(id);
  readers.others = readers.others || value.graph_output;
  for (const Use& use : value.uses) {
    if (use.input < 0) {
      readers.others = true;
    } else if (use.input == 0 && MovesWhole(graph.nodes()[size_t(use.node)])) {
      AddReaders(graph, graph.outputs(use.node)[0], readers);
    } else {
      readers.nodes.insert(use.node);
    }
  }
}

std::string NameOf(const Node& node) {
  const std::string& name = node.proto().name();
  return node.op_type() + (name.empty() ? "" : " '" + name + "'");
}

/// Why a lookup of rows cannot read codes; empty when it can.
std::string Obstacle(const Graph& graph, int lookup, const Place& place) {
  const Node& node = graph.nodes()[size_t(lookup)];
  if (node.op_type() == "GatherBlockQuantized") return "quantized already";
  if (!node.domain().empty() || node.op_type() != "Gather") {
    return "the operator " + node.op_type() + " takes floats";
  }
  const int64_t axis = node.Int("axis", 0);
  if (axis != 0 && axis != -2) return NameOf(node) + " takes columns";
  if (PlaceOf(graph, graph.inputs(lookup)[0], false) != place) {
    return "its lookups see it in different ways";
  }
  return "";
}

/// Why a table cannot become codes, whatever they are; empty when it can. `tied`: the nodes of
/// linears that may read codes, of their own or the table's.
std::string WhyFloats(const Graph& graph, const Table& table, const std::set<int>& tied) {
  const auto place = PlaceOf(graph, table.operand, false);
  const auto rank = graph.value(table.stored).constant->dims_size();
  if (!place && rank != 2) return "it has " + std::to_string(rank) + " dimensions";
  if (!place) return "its rows are computed in the graph";
  if (!IsFloat(place->dtype)) return "it holds no floats";
  if (place->dtype == DType::kFloat64) return "the runtime has no float64 kernel";
  for (const int lookup : table.lookups) {
    std::string why = Obstacle(graph, lookup, *place);
    if (!why.empty()) return why;
  }
  if (place->n < kFewestRows) return "fewer than " + std::to_string(kFewestRows) + " rows";
  Readers readers;
  AddReaders(graph, table.stored, readers);
  if (readers.others) return "a subgraph or the caller reads its floats";
  for (const int reader : readers.nodes) {
    if (tied.contains(reader) || std::ranges::count(table.lookups, reader) > 0) continue;
    return NameOf(graph.nodes()[size_t(reader)]) + " reads its floats";
  }
  return "";
}

/// The linears that multiply with the table's tensor, by index.
std::vector<size_t> TiedTo(const Plan& plan, const Table& table) {
  std::vector<size_t> tied;
  for (size_t i = 0; i < plan.linears.size(); ++i) {
    if (plan.linears[i].stored == table.stored) tied.push_back(i);
  }
  return tied;
}

std::set<int> NodesOf(const Plan& plan, const std::vector<size_t>& linears) {
  std::set<int> nodes;
  for (const size_t index : linears) {
    nodes.insert(plan.linears[index].node);
    for (const ConstantProduct& product : plan.linears[index].constant_products) {
      nodes.insert(product.node);
    }
  }
  return nodes;
}

bool SameCodes(const QuantSpec& a, const QuantSpec& b) {
  return a.bits == b.bits && a.group_size == b.group_size && a.symmetric == b.symmetric &&
         a.codebook == b.codebook;
}

/// Whether one set of codes can serve the lookups and the linears.
bool CanShare(const Graph& graph, const Form& codes, const std::vector<size_t>& tied,
              const Plan& plan, const Table& table) {
  const Linear& first = plan.linears[tied.front()];
  const auto place = PlaceOf(graph, table.operand, false);
  return std::ranges::all_of(tied, [&](size_t index) {
    const Linear& linear = plan.linears[index];
    return codes.Serves(*linear.decision.form) && SameCodes(linear.spec(), first.spec()) &&
           linear.gather < 0 && linear.constant_products.empty() && !linear.decision.known &&
           PlaceOf(graph, linear.operand, !linear.operand_is_nk) == place;
  });
}

/// Gives the table the codes that its linears ask for, and them the table's; false when it cannot.
bool Share(const Graph& graph, const TableRequest& request, const std::vector<size_t>& tied,
           size_t index, Plan& plan) {
  Table& table = plan.tables[index];
  if (tied.empty() || !CanShare(graph, *request.codes, tied, plan, table)) return false;
  const Linear& first = plan.linears[tied.front()];
  Table shared = table;
  shared.linears.assign(tied.begin(), tied.end());
  shared.decision.form = request.codes;
  shared.decision.parameters = first.decision.parameters;
  if (!request.codes->Refusal(FactsOf(graph, shared), shared.decision.parameters).empty()) {
    return false;
  }
  shared.decision.reason = "tied to '" + first.name + "': one set of codes";
  table = std::move(shared);
  for (const size_t linear : tied) {
    plan.linears[linear].table = int(index);
    plan.linears[linear].decision.reason =
        "the codes of '" + table.name + "', found on the weight alone";
  }
  return true;
}

/// The codes that are asked for, or INT8 where the form cannot have these.
void Choose(const Graph& graph, const TableRequest& request, Table& table) {
  const TensorFacts facts = FactsOf(graph, table);
  FormParameters parameters = request.parameters;
  parameters.spec.scale_type =
      table.operand_type == DType::kFloat32 ? ScaleType::kFloat32 : ScaleType::kFloat16;
  std::string reason;
  for (const int bits : {request.precision == Precision::kInt4 ? request.bits : 8, 8}) {
    parameters.spec.bits = bits;
    parameters.spec = request.codes->Preferred(parameters.spec);
    const std::string refusal = request.codes->Refusal(facts, parameters);
    if (refusal.empty()) {
      table.decision.form = request.codes;
      table.decision.parameters = parameters;
      table.decision.reason = std::move(reason);
      return;
    }
    reason = refusal;
  }
  Keep(table, reason);
}

/// Takes over the form of a linear that is the same tensor and is no codes; false when all are.
bool TakeFormOf(const Plan& plan, const std::vector<size_t>& tied, Table& table) {
  for (const size_t index : tied) {
    const Linear& linear = plan.linears[index];
    if (!linear.decision.halves()) continue;
    table.decision.form = &HalfForm();
    table.decision.reason = "tied to '" + linear.name + "'";
    return true;
  }
  const auto kept = std::ranges::find_if(
      tied, [&](size_t index) { return plan.linears[index].decision.keeps(); });
  if (kept == tied.end()) return false;
  Keep(table, "tied to '" + plan.linears[*kept].name + "', which is kept");
  return true;
}

/// What a rule asks for a table, where the options ask for something else.
TableRequest RequestOf(const PlanOptions& options, const Rule& rule) {
  TableRequest request{options.table_codes, options.embeddings, options.parameters};
  if (!rule.ChoosesForm()) return request;
  if (rule.form == KeepForm().name() || rule.form == HalfForm().name()) {
    request.precision = rule.form == KeepForm().name() ? Precision::kKeep : Precision::kHalf;
    return request;
  }
  const CodeForm* const form = FindCodes(options, rule.form);
  if (form != nullptr) request.codes = form->tables;
  rule.ApplyTo(request.parameters);
  const int bits = int(std::bit_ceil(unsigned(request.parameters.spec.bits)));  // 3 in 4
  request.precision = bits == 8 ? Precision::kInt8 : Precision::kInt4;
  if (bits != 8) request.bits = bits;
  return request;
}

/// Decides as a rule says, and says so.
void FollowRule(const Graph& graph, const PlanOptions& options, const Rule& rule, size_t index,
                Plan& plan) {
  DecideTable(graph, RequestOf(options, rule), index, plan);
  if (!rule.ChoosesForm()) return;
  Decision& decision = plan.tables[index].decision;
  decision.ruled = !rule.form.empty();
  decision.asked = rule.form == KeepForm().name();
  decision.reason =
      "rule '" + rule.pattern + "'" + (decision.reason.empty() ? "" : ": " + decision.reason);
}

}  // namespace

void DecideTable(const Graph& graph, const TableRequest& request, size_t index, Plan& plan) {
  Table& table = plan.tables[index];
  const std::vector<size_t> tied = TiedTo(plan, table);
  if (request.precision == Precision::kKeep) {
    if (std::ranges::any_of(tied, [&](size_t i) { return plan.linears[i].decision.halves(); })) {
      (void)TakeFormOf(plan, tied, table);
    }
    return;
  }
  if (TakeFormOf(plan, tied, table)) return;
  if (request.precision == Precision::kHalf) return HalveFloats(graph, table);
  const std::string why = WhyFloats(graph, table, NodesOf(plan, tied));
  if (!why.empty()) return Keep(table, why);
  const Place place = *PlaceOf(graph, table.operand, false);
  table.n = place.n;
  table.k = place.k;
  table.operand_type = place.dtype;
  if (!Share(graph, request, tied, index, plan)) Choose(graph, request, table);
}

void DecideTables(const ExecutionPlan& execution, const PlanOptions& options, Plan& plan) {
  plan.tables = FindTables(execution, plan);
  const TableRequest request{options.table_codes, options.embeddings, options.parameters};
  const RuleList rules(options.rules);
  for (size_t i = 0; i < plan.tables.size(); ++i) {
    const Rule* const rule = rules.For(plan.tables[i]);
    if (rule != nullptr) {
      FollowRule(execution.graph(), options, *rule, i, plan);
    } else {
      DecideTable(execution.graph(), request, i, plan);
    }
  }
}

}  // namespace ptq
