// Finds quantized weights whose floats have to stay.
#include "float_copies.h"

#include <cstdio>
#include <map>

#include "ptq/calibrate/memory_plan.h"

namespace ptq {
namespace {

/// "1.5 MiB".
std::string Size(int64_t bytes) {
  constexpr double kUnit = 1024;
  const bool large = double(bytes) >= kUnit * kUnit;
  char text[32];
  (void)std::snprintf(text, sizeof(text), "%.1f %s",
                      double(bytes) / (large ? kUnit * kUnit : kUnit), large ? "MiB" : "KiB");
  return text;
}

std::string NoteOf(const Graph& graph, const Linear& linear, int64_t floats, bool half) {
  const int64_t codes = linear.decision.bytes;
  const std::string form = "int" + std::to_string(linear.spec().bits);
  const std::string& name = graph.value(linear.stored).name;
  if (!linear.is_head) {
    return "'" + linear.name + "' shares its weight '" + name +
           "' with nodes that read its floats: these stay (" + Size(floats) +
           ") beside the codes (" + Size(codes) + ")";
  }
  const int64_t shared = BytesOf(DType::kFloat16, linear.n * linear.k);
  if (floats + codes <= shared) return "";
  return "the LM head '" + linear.name + "' is tied to the embedding table '" + name +
         "', whose floats stay (" + Size(floats) + (half ? " as FP16" : "") + ") beside the " +
         form + " codes (" + Size(codes) + "): " + Size(floats + codes) +
         " together, where --lm-head " + "fp16 stores one table of " + Size(shared) +
         " that both share";
}

}  // namespace

std::vector<std::string> FloatCopyNotes(const Source& source, const Plan& plan) {
  std::map<ValueId, const Subject*> copies;  // floats that stay, by the weight
  for (const Table& table : plan.tables) {
    if (!table.decision.quantizes()) copies[table.stored] = &table;
  }
  for (const Constant& constant : plan.constants) copies[constant.stored] = &constant;
  std::vector<std::string> notes;
  for (const Linear& linear : plan.linears) {
    if (!linear.decision.quantizes() || !linear.reused || linear.part != linear.stored) continue;
    const auto copy = copies.extract(linear.stored);  // once for each weight
    if (copy.empty()) continue;
    const StoredTensor& stored = *source.graph.value(linear.stored).constant;
    const bool half = copy.mapped()->decision.halves();
    const int64_t floats = half ? BytesOf(DType::kFloat16, linear.n * linear.k)
                                : source.model.weights().SizeInFile(stored);
    std::string note = NoteOf(source.graph, linear, floats, half);
    if (!note.empty()) notes.push_back(std::move(note));
  }
  return notes;
}

}  // namespace ptq
