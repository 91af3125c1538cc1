// The table of operator schemas, read as far as one operator needs it.
#include "ptq/model/operator_schemas.h"

#include <algorithm>
#include <charconv>
#include <span>

namespace ptq {
namespace {

struct Row {
  std::string_view op_type;
  int64_t since;
  int least_inputs;
  int most_inputs;
  std::string_view attributes;
  std::string_view parameters;
};

#define PTQ_SCHEMA(op_type, since, least, most, attributes, parameters) \
  {op_type, since, least, most, attributes, parameters},

/// Sorted by operator and version.
constexpr Row kStandard[] = {
#include "operator_schemas.inc"
};

/// ONNX Runtime's own operators; one of them lives in the standard domain.
constexpr Row kContribRows[] = {
#include "contrib_schemas.inc"
};
constexpr std::string_view kForeign = "SimplifiedLayerNormalization";

#undef PTQ_SCHEMA

/// The part of `text` in front of the next separator, which is removed from it.
std::string_view Take(std::string_view& text, char separator) {
  const size_t end = std::min(text.find(separator), text.size());
  const std::string_view part = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return part;
}

SchemaAttribute AttributeFrom(std::string_view text) {
  SchemaAttribute attribute;
  attribute.name = Take(text, ':');
  attribute.type = text.front();
  attribute.required = text.ends_with('!');
  return attribute;
}

SchemaParameter ParameterFrom(std::string_view text) {
  SchemaParameter parameter;
  parameter.type = Take(text, ':');
  parameter.mixed = text.ends_with('+');
  parameter.repeats = parameter.mixed || text.ends_with('*');
  std::from_chars(text.data(), text.data() + text.size(), parameter.mask, 16);
  return parameter;
}

OperatorSchema SchemaFrom(const Row& row) {
  OperatorSchema schema;
  schema.since = row.since;
  schema.least_inputs = row.least_inputs;
  schema.most_inputs = row.most_inputs;
  for (std::string_view rest = row.attributes; !rest.empty();) {
    schema.attributes.push_back(AttributeFrom(Take(rest, ' ')));
  }
  std::vector<SchemaParameter>* parameters = &schema.inputs;
  for (std::string_view rest = row.parameters; !rest.empty();) {
    const std::string_view part = Take(rest, ' ');
    if (part == ">") {
      parameters = &schema.outputs;
    } else if (!part.empty()) {
      parameters->push_back(ParameterFrom(part));
    }
  }
  return schema;
}

}  // namespace

std::optional<OperatorSchema> FindSchema(std::string_view domain, std::string_view op_type,
                                         int64_t opset) {
  std::span<const Row> rows;
  if (domain.empty()) rows = kStandard;
  if (domain == "com.microsoft" || op_type == kForeign) rows = kContribRows;
  const auto first = std::ranges::lower_bound(rows, op_type, {}, &Row::op_type);
  const auto last = std::ranges::upper_bound(first, rows.end(), op_type, {}, &Row::op_type);
  if (first == last) return std::nullopt;
  const auto later = std::ranges::upper_bound(first, last, opset, {}, &Row::since);
  return SchemaFrom(later == first ? *first : *std::prev(later));
}

}  // namespace ptq
