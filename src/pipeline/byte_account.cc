// Which constants are tables, what linears take, and what is left.
#include "byte_account.h"

#include <algorithm>
#include <functional>
#include <set>
#include <string>

#include "memory_plan.h"

namespace ptq {
namespace {

/// A part of the result that is smaller than this share is not worth an advice.
constexpr double kWorthSaying = 0.02;

/// Operators whose output holds the elements of their first input.
bool Carries(const Node& node) {
  static const std::set<std::string> kTypes = {"Cast",    "Identity", "Transpose",
                                               "Reshape", "Squeeze",  "DequantizeLinear"};
  return kTypes.contains(node.op_type());
}

/// Whether rows of a constant are looked up: by a Gather that is no linear's, or by an operator
/// with embeddings inside.
class Tables {
 public:
  Tables(const Graph& graph, const Plan& plan) : graph_(graph) {
    for (const Linear& linear : plan.linears) stacks_.insert(linear.gather);
    for (size_t i = 0; i < graph.values().size(); ++i) {
      const auto id = static_cast<ValueId>(i);
      const onnx::TensorProto* const constant = graph.value(id).constant;
      if (constant != nullptr && constant->dims_size() > 1 && IsLookedUp(id, 0)) ids_.insert(id);
    }
  }
  [[nodiscard]] const std::set<ValueId>& ids() const { return ids_; }
  [[nodiscard]] bool Has(ValueId id) const { return ids_.contains(id); }

 private:
  [[nodiscard]] bool IsLookedUp(ValueId id, int depth) const {
    constexpr int kDeepest = 4;
    return std::ranges::any_of(graph_.value(id).uses, [&](const Use& use) {
      if (use.node < 0 || stacks_.contains(use.node)) return false;
      const Node& node = graph_.nodes()[size_t(use.node)];
      const std::string& type = node.op_type();
      if (type == "Gather" || type == "GatherBlockQuantized") return use.input == 0;
      if (type == "EmbedLayerNormalization") return use.input >= 2 && use.input <= 4;
      if (use.input != 0 || depth >= kDeepest || !Carries(node)) return false;
      return IsLookedUp(graph_.outputs(use.node)[0], depth + 1);
    });
  }

  const Graph& graph_;
  std::set<int> stacks_;  ///< Gathers that pick experts
  std::set<ValueId> ids_;
};

bool IsFloat32(const Graph& graph, ValueId id) {
  return graph.value(id).constant->data_type() == onnx::TensorProto::FLOAT;
}

bool IsTied(const Tables& tables, const Linear& linear) {
  return linear.stored != kNoValue && tables.Has(linear.stored);
}

int64_t BytesInFile(const Source& source, ValueId id) {
  return source.model.weights().SizeInFile(*source.graph.value(id).constant);
}

/// Constants that become FP16 whatever the linears do: all with --float fp16, and tied heads.
std::set<ValueId> HalvedTables(const Source& source, const Recipe& recipe, const Plan& plan,
                               const Tables& tables) {
  std::set<ValueId> halved;
  for (const ValueId id : tables.ids()) {
    if (recipe.half_floats && IsFloat32(source.graph, id)) halved.insert(id);
  }
  for (const Linear& linear : plan.linears) {
    const bool half = linear.decision == Decision::kHalf && IsTied(tables, linear);
    if (half && IsFloat32(source.graph, linear.stored)) halved.insert(linear.stored);
  }
  return halved;
}

void AddTables(const Source& source, const std::set<ValueId>& halved, const Tables& tables,
               FileBytes& bytes) {
  for (const ValueId id : tables.ids()) {
    const int64_t floats = StoredBytes(source.graph, id);  // also of one that was stored as codes
    bytes.tables.before += BytesInFile(source, id);
    bytes.tables.after += halved.contains(id) ? floats / 2 : floats;
  }
}

void AddLinears(const Recipe& recipe, const RunReport& report, const Tables& tables,
                FileBytes& bytes) {
  for (size_t i = 0; i < report.plan.linears.size(); ++i) {
    const Linear& linear = report.plan.linears[i];
    const LinearOutcome& outcome = report.outcomes[i];
    BytesPart& part = linear.is_head ? bytes.head : bytes.linears;
    if (IsTied(tables, linear)) {  // the table stays; codes come on top of it
      if (linear.decision == Decision::kQuantize) part.after += outcome.bytes_after;
      continue;
    }
    part.before += outcome.bytes_before;
    const bool halved = linear.decision == Decision::kKeep && recipe.half_floats &&
                        linear.stored_type == DType::kFloat32;
    part.after += halved ? outcome.bytes_before / 2 : outcome.bytes_after;
  }
}

/// What the quantized linears (the head, or the others) would take with another specification.
int64_t BytesWith(const RunReport& report, bool head,
                  const std::function<void(QuantSpec&)>& change) {
  int64_t bytes = 0;
  for (size_t i = 0; i < report.plan.linears.size(); ++i) {
    Linear linear = report.plan.linears[i];
    if (linear.is_head != head || report.outcomes[i].bytes_after == 0) continue;
    if (!head && linear.decision != Decision::kQuantize) {
      bytes += report.outcomes[i].bytes_after;
      continue;
    }
    linear.decision = Decision::kQuantize;
    change(linear.spec);
    bytes += ResultBytes(linear);
  }
  return bytes;
}

/// The specification that other linears have, for a head that has none.
QuantSpec HeadSpec(const Recipe& recipe, int bits) {
  QuantSpec spec = PlanOptionsOf(recipe).spec;
  spec.bits = bits;
  return spec;
}

FileBytes PartsOf(const Source& source, const Recipe& recipe, const RunReport& report,
                  const Tables& tables, const std::set<ValueId>& halved) {
  FileBytes bytes;
  AddTables(source, halved, tables, bytes);
  AddLinears(recipe, report, tables, bytes);
  bytes.rest.before = report.bytes_before - bytes.Total().before;
  bytes.rest.after =
      report.bytes_after > 0 ? report.bytes_after - bytes.Total().after : bytes.rest.before;
  return bytes;
}

std::vector<Saving> SavingsOf(const Source& source, const Recipe& recipe, const RunReport& report,
                              const Tables& tables, const std::set<ValueId>& halved) {
  const FileBytes& bytes = report.bytes;
  std::vector<Saving> savings;
  const double enough = kWorthSaying * double(bytes.Total().after);
  const auto add = [&](const char* what, int64_t part, const char* option, int64_t saved) {
    if (double(saved) >= enough && saved > 0) savings.push_back({what, part, option, saved});
  };
  int64_t floats = 0;
  for (const ValueId id : tables.ids()) {
    if (IsFloat32(source.graph, id) && !halved.contains(id))
      floats += StoredBytes(source.graph, id);
  }
  add("embeddings", bytes.tables.after, "--float fp16", floats / 2);
  if (recipe.head == HeadForm::kHalf || recipe.head == HeadForm::kKeep) {
    const int64_t with =
        BytesWith(report, true, [&](QuantSpec& spec) { spec = HeadSpec(recipe, 8); });
    if (with > 0 && bytes.head.before > 0) {
      add("the LM head", bytes.head.after, "--lm-head int8", bytes.head.after - with);
    }
  }
  if (recipe.bits == 8) {
    add("linears", bytes.linears.after, "--bits 4",
        bytes.linears.after - BytesWith(report, false, [](QuantSpec& spec) { spec.bits = 4; }));
  } else if (recipe.group_size > 0 && recipe.group_size < 128) {
    const int64_t with = BytesWith(report, false, [](QuantSpec& spec) { spec.group_size = 128; });
    add("linears", bytes.linears.after, "--group-size 128", bytes.linears.after - with);
  }
  std::ranges::stable_sort(savings, std::ranges::greater(), &Saving::bytes);
  return savings;
}

}  // namespace

BytesPart FileBytes::Total() const {
  return {linears.before + head.before + tables.before + rest.before,
          linears.after + head.after + tables.after + rest.after};
}

FileBytes& FileBytes::operator+=(const FileBytes& other) {
  const auto add = [](BytesPart& part, const BytesPart& more) {
    part.before += more.before;
    part.after += more.after;
  };
  add(linears, other.linears);
  add(head, other.head);
  add(tables, other.tables);
  add(rest, other.rest);
  return *this;
}

void AccountFor(const Source& source, const Recipe& recipe, RunReport& report) {
  const Tables tables(source.graph, report.plan);
  const std::set<ValueId> halved = HalvedTables(source, recipe, report.plan, tables);
  report.bytes = PartsOf(source, recipe, report, tables, halved);
  report.savings = SavingsOf(source, recipe, report, tables, halved);
}

}  // namespace ptq
