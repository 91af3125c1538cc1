// Which constants are tables, what linears take, and what is left.
#include "byte_account.h"

#include <algorithm>
#include <functional>
#include <set>
#include <string>

#include "ptq/calibrate/memory_plan.h"
#include "ptq/emit/linear_form.h"

namespace ptq {
namespace {

/// A part of the result that is smaller than this share is not worth an advice.
constexpr double kWorthSaying = 0.02;

/// Stored tensors of which rows are looked up.
std::set<ValueId> TableValues(const Plan& plan) {
  std::set<ValueId> values;
  for (const Table& table : plan.tables) values.insert(table.stored);
  return values;
}

int64_t BytesInFile(const Source& source, ValueId id) {
  return source.model.weights().SizeInFile(*source.graph.value(id).constant);
}

/// What of a table there is, also of one that was stored as codes.
int64_t BytesAfter(const Source& source, const Table& table) {
  return table.decision.keeps() ? StoredBytes(source.graph, table.stored) : table.decision.bytes;
}

void AddTables(const Source& source, const Plan& plan, FileBytes& bytes) {
  for (const Table& table : plan.tables) {
    bytes.tables.before += BytesInFile(source, table.stored);
    bytes.tables.after += BytesAfter(source, table);
  }
}

void AddLinears(const RunReport& report, FileBytes& bytes) {
  const std::set<ValueId> tables = TableValues(report.plan);
  for (size_t i = 0; i < report.plan.linears.size(); ++i) {
    const Linear& linear = report.plan.linears[i];
    const Outcome& outcome = report.outcomes[i];
    if (linear.table >= 0) continue;  // the table's codes serve both
    BytesPart& part = linear.is_head ? bytes.head : bytes.linears;
    if (tables.contains(linear.stored)) {  // the table stays; codes come on top of it
      if (linear.decision.quantizes()) part.after += outcome.bytes_after;
      continue;
    }
    part.before += outcome.bytes_before;
    part.after += outcome.bytes_after;
  }
}

/// What the quantized linears (the head, or the others) would take with other parameters.
int64_t BytesWith(const Source& source, const Recipe& recipe, const RunReport& report, bool head,
                  const std::function<void(QuantSpec&)>& change) {
  const LinearForm& form = FindLinearForm(recipe.format);
  int64_t bytes = 0;
  for (size_t i = 0; i < report.plan.linears.size(); ++i) {
    const Linear& linear = report.plan.linears[i];
    if (linear.is_head != head || report.outcomes[i].bytes_after == 0) continue;
    if (linear.table >= 0) continue;
    if (!head && !linear.decision.quantizes()) {
      bytes += report.outcomes[i].bytes_after;
      continue;
    }
    FormParameters parameters = PlanOptionsOf(recipe, form).parameters;
    if (linear.decision.quantizes()) parameters = linear.decision.parameters;
    change(parameters.spec);
    bytes += form.Bytes(FactsOf(source.graph, linear), parameters);
  }
  return bytes;
}

FileBytes PartsOf(const Source& source, const RunReport& report) {
  FileBytes bytes;
  AddTables(source, report.plan, bytes);
  AddLinears(report, bytes);
  bytes.rest.before = report.bytes_before - bytes.Total().before;
  if (bytes.rest.before < 0) {  // codes of a table and of a linear that have the same scales
    bytes.tables.before += bytes.rest.before;
    bytes.rest.before = 0;
  }
  const int64_t after = report.bytes_after > 0 ? report.bytes_after : report.predicted.Total();
  bytes.rest.after = after > 0 ? after - bytes.Total().after : bytes.rest.before;
  return bytes;
}

std::vector<Saving> SavingsOf(const Source& source, const Recipe& recipe, const RunReport& report) {
  const FileBytes& bytes = report.bytes;
  std::vector<Saving> savings;
  const double enough = kWorthSaying * double(bytes.Total().after);
  const auto add = [&](const char* what, int64_t part, const char* option, int64_t saved) {
    if (double(saved) >= enough && saved > 0) savings.push_back({what, part, option, saved});
  };
  int64_t floats = 0;
  for (const Table& table : report.plan.tables) {
    const bool wide = table.decision.keeps() && table.stored_type == DType::kFloat32;
    if (wide) floats += StoredBytes(source.graph, table.stored);
  }
  add("embeddings", bytes.tables.after, "--float fp16", floats / 2);
  if (recipe.head == Precision::kHalf || recipe.head == Precision::kKeep) {
    const int64_t with =
        BytesWith(source, recipe, report, true, [](QuantSpec& spec) { spec.bits = 8; });
    if (with > 0 && bytes.head.before > 0) {
      add("the LM head", bytes.head.after, "--lm-head int8", bytes.head.after - with);
    }
  }
  if (recipe.bits == 8) {
    add("linears", bytes.linears.after, "--bits 4",
        bytes.linears.after -
            BytesWith(source, recipe, report, false, [](QuantSpec& spec) { spec.bits = 4; }));
  } else if (recipe.group_size > 0 && recipe.group_size < 128) {
    const int64_t with =
        BytesWith(source, recipe, report, false, [](QuantSpec& spec) { spec.group_size = 128; });
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
  report.bytes = PartsOf(source, report);
  report.savings = SavingsOf(source, recipe, report);
}

}  // namespace ptq
