// ai.onnx Einsum of an activation and a weight: XLNet, Conformers, multi-head projections.

#include <algorithm>
#include <string>

#include "linear_forms.h"

namespace ptq {
namespace {

/// "ibh,hnd->ibnd", with `x` for the activation and `w` for the weight.
struct Equation {
  std::string x, w, y;
};

std::optional<Equation> Parse(std::string text, bool weight_first) {
  std::erase(text, ' ');
  const auto comma = text.find(',');
  const auto arrow = text.find("->");
  if (comma == std::string::npos || arrow == std::string::npos || comma > arrow ||
      text.find('.') != std::string::npos || text.find(',', comma + 1) != std::string::npos) {
    return std::nullopt;
  }
  Equation equation{text.substr(0, comma), text.substr(comma + 1, arrow - comma - 1),
                    text.substr(arrow + 2)};
  if (weight_first) std::swap(equation.x, equation.w);
  return equation;
}

bool Has(const std::string& labels, char label) { return labels.find(label) != std::string::npos; }

bool HasRepeats(std::string labels) {
  std::ranges::sort(labels);
  return std::ranges::adjacent_find(labels) != labels.end();
}

/// Axes that bring `from` into the order of `to`.
std::vector<int64_t> Order(const std::string& from, const std::string& to) {
  std::vector<int64_t> order;
  for (const char label : to) order.push_back(int64_t(from.find(label)));
  return order;
}

/// What each label of the product is: batch · contracted on the left, contracted · outputs on the
/// right. Nothing when a label is in both operands and in the result, or in one alone.
struct Roles {
  std::string batch, contracted, outputs;
};

std::optional<Roles> RolesOf(const Equation& equation) {
  if (HasRepeats(equation.x) || HasRepeats(equation.w) || HasRepeats(equation.y)) {
    return std::nullopt;
  }
  Roles roles;
  for (const char label : equation.x) {
    const bool in_w = Has(equation.w, label);
    if (in_w == Has(equation.y, label)) return std::nullopt;
    (in_w ? roles.contracted : roles.batch) += label;
  }
  for (const char label : equation.y) {
    if (Has(equation.x, label)) continue;
    if (!Has(equation.w, label)) return std::nullopt;
    roles.outputs += label;
  }
  if (roles.contracted.size() + roles.outputs.size() != equation.w.size()) return std::nullopt;
  if (roles.batch.empty() || roles.contracted.empty() || roles.outputs.empty()) {
    return std::nullopt;
  }
  return roles;
}

/// A Reshape target that keeps the batch dimensions and gives the others.
std::vector<int64_t> Keeping(size_t batch, const std::vector<int64_t>& others) {
  std::vector<int64_t> target(batch, 0);
  target.insert(target.end(), others.begin(), others.end());
  return target;
}

std::string Ordered(FormWriter& writer, const std::string& value, const std::string& from,
                    const std::string& to) {
  return from == to ? value : writer.Transpose(value, Order(from, to));
}

}  // namespace

bool SpellOutEinsum(FormWriter& writer) {
  const Node& node = writer.node();
  if (node.input_count() != 2) return false;
  const bool weight_first = writer.View(0).has_value();
  const auto weight = writer.View(weight_first ? 0 : 1);
  if (!weight.has_value() || writer.View(weight_first ? 1 : 0).has_value()) return false;
  const auto equation = Parse(node.String("equation", ""), weight_first);
  const auto roles = equation.has_value() ? RolesOf(*equation) : std::nullopt;
  if (!roles.has_value() || weight->shape.size() != equation->w.size()) return false;

  std::vector<int64_t> out_dims;
  int64_t n = 1;
  for (const char label : roles->outputs) {
    out_dims.push_back(weight->shape[equation->w.find(label)]);
    n *= out_dims.back();
  }
  const int64_t k = NumElements(weight->shape) / std::max<int64_t>(n, 1);
  if (n < 2 || k < 2) return false;

  const auto& [batch, contracted, outputs] = *roles;
  std::string x =
      Ordered(writer, writer.InputName(weight_first ? 1 : 0), equation->x, batch + contracted);
  if (contracted.size() > 1) x = writer.Reshape(x, Keeping(batch.size(), {k}));
  // [N, K] and then a Transpose when the weight lies so, to spare moving its elements.
  std::string w = writer.InputName(weight_first ? 0 : 1);
  if (equation->w == outputs + contracted) {
    if (equation->w.size() > 2) w = writer.Reshape(w, {n, k});
    w = writer.Transpose(w, {1, 0});
  } else {
    w = Ordered(writer, w, equation->w, contracted + outputs);
    if (equation->w.size() > 2) w = writer.Reshape(w, {k, n});
  }
  const bool split = outputs.size() > 1;
  const bool ordered = batch + outputs == equation->y;
  std::string y = writer.Add("MatMul", {x, w}, split || !ordered ? "" : node.output(0));
  writer.NameProduct();
  if (split) {
    y = writer.Reshape(y, Keeping(batch.size(), out_dims), ordered ? node.output(0) : "");
  }
  if (!ordered) writer.Transpose(y, Order(batch + outputs, equation->y), node.output(0));
  return true;
}

}  // namespace ptq
