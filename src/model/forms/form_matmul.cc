// ai.onnx MatMul and com.microsoft FusedMatMul with a weight on the left, of more than two
// dimensions, or times a factor.

#include <algorithm>
#include <string>

#include "linear_forms.h"

namespace ptq {
namespace {

/// A stack of more matrices is a table, not a layer with experts.
constexpr int64_t kMostMatrices = 1024;
constexpr int64_t kEinsumOpset = 12;
/// Expand came with opset 8, Split's count of parts with opset 18.
constexpr int64_t kExpandOpset = 8;
constexpr int64_t kCountedSplitOpset = 18;

/// A matrix of one row or column is a vector: rotary frequencies, a mask.
bool IsMatrix(const Shape& shape) {
  return shape.size() >= 2 && shape.back() > 1 && shape[shape.size() - 2] > 1;
}

/// Dimensions in front of the matrix that are more than one.
int64_t MatricesIn(const Shape& shape) { return NumElements(shape, 0, int64_t(shape.size()) - 2); }

/// The rank that the file declares for a value; 0 when it declares none.
size_t DeclaredRank(const FormWriter& writer, size_t i) {
  const auto shape = writer.graph().DeclaredType(writer.input(i)).shape;
  return shape.has_value() ? shape->size() : 0;
}

/// The weight as [rows, columns], without leading ones.
std::string AsMatrix(FormWriter& writer, size_t i, const Shape& shape) {
  if (shape.size() == 2) return writer.InputName(i);
  return writer.Reshape(writer.InputName(i), {shape[shape.size() - 2], shape.back()});
}

/// W · X = (Xᵀ · Wᵀ)ᵀ.
bool WithWeightOnTheLeft(FormWriter& writer, const ConstantView& weight) {
  if (writer.opset() < kEinsumOpset || MatricesIn(weight.shape) != 1) return false;
  const size_t rank = weight.shape.size();
  if (rank > 2 && DeclaredRank(writer, 1) < rank) return false;
  const std::string x = writer.SwapLast(writer.InputName(1));
  const std::string w = writer.Transpose(AsMatrix(writer, 0, weight.shape), {1, 0});
  const std::string y = writer.Add("MatMul", {x, w});
  writer.NameProduct();
  writer.SwapLast(y, writer.node().output(0));
  return true;
}

/// A matrix for each token, picked from a stack of experts.
bool HasGatheredLeft(const FormWriter& writer) {
  const ValueId left = writer.input(0);
  const ValueId right = writer.input(1);
  if (left == kNoValue || right == kNoValue || writer.View(1).has_value()) return false;
  const auto gathered = FindGathered(writer.graph(), left);
  return gathered.has_value() && IsFloat(gathered->view.dtype) && IsMatrix(gathered->view.shape) &&
         !FindGathered(writer.graph(), right).has_value();
}

bool WithGatheredLeft(FormWriter& writer) {
  if (writer.opset() < kEinsumOpset) return false;
  const std::string x = writer.SwapLast(writer.InputName(1));
  const std::string w = writer.SwapLast(writer.InputName(0));
  const std::string y = writer.Add("MatMul", {x, w});
  writer.NameProduct();
  writer.SwapLast(y, writer.node().output(0));
  return true;
}

/// [1, K, N]: the matrix, and a result that has at least as many dimensions.
bool WithLeadingOnes(FormWriter& writer, const ConstantView& weight) {
  const size_t rank = weight.shape.size();
  const bool widens = DeclaredRank(writer, 0) < rank;
  if (widens && writer.opset() < kExpandOpset) return false;
  const std::string w = AsMatrix(writer, 1, weight.shape);
  const std::string& output = writer.node().output(0);
  const std::string y = writer.Add("MatMul", {writer.InputName(0), w}, widens ? "" : output);
  writer.NameProduct();
  if (!widens) return true;
  const std::string ones = writer.Integers({int64_t(rank)}, std::vector<int64_t>(rank, 1));
  writer.Add("Expand", {y, ones}, output);
  return true;
}

/// [E, K, N]: a product for each matrix of the stack.
bool WithStack(FormWriter& writer, const ConstantView& weight) {
  const int64_t count = MatricesIn(weight.shape);
  const auto rank = int64_t(weight.shape.size());
  const bool one_axis = weight.shape[size_t(rank - 3)] == count;
  if (!one_axis || count < 2 || count > kMostMatrices || writer.opset() < kExpandOpset)
    return false;
  const int64_t k = weight.shape[size_t(rank - 2)];
  std::string stack = writer.InputName(1);
  if (rank > 3) stack = writer.Reshape(stack, {count, k, weight.shape.back()});
  // Whether one activation serves all matrices or each has its own, [.., E, T, K] serves both.
  std::vector<int64_t> dims(size_t(rank), 1);
  dims[size_t(rank - 3)] = count;
  const std::string x = writer.Add("Expand", {writer.InputName(0), writer.Integers({rank}, dims)});
  std::vector<std::string> parts{writer.Add("Split", {x})};
  for (int64_t e = 1; e < count; ++e) {
    parts.push_back(writer.Fresh());
    writer.last().add_output(parts.back());
  }
  SetInt(writer.last(), "axis", -3);
  if (writer.opset() >= kCountedSplitOpset) {
    SetInt(writer.last(), "num_outputs", count);
  }
  std::vector<std::string> products;
  for (int64_t e = 0; e < count; ++e) {
    const std::string w = writer.Add("Gather", {stack, writer.Integers({}, {e})});
    products.push_back(writer.Add("MatMul", {parts[size_t(e)], w}));
    writer.NameProduct(e);
  }
  writer.Add("Concat", products, writer.node().output(0));
  SetInt(writer.last(), "axis", -3);
  return true;
}

}  // namespace

bool SpellOutMatMul(FormWriter& writer) {
  if (HasGatheredLeft(writer)) return WithGatheredLeft(writer);
  const auto left = writer.View(0);
  const auto right = writer.View(1);
  if (left.has_value() == right.has_value()) return false;
  if (DeclaredRank(writer, left.has_value() ? 1 : 0) == 1) return false;  // its axis disappears
  if (left.has_value()) return IsMatrix(left->shape) && WithWeightOnTheLeft(writer, *left);
  if (right->shape.size() < 3 || !IsMatrix(right->shape)) return false;
  return MatricesIn(right->shape) == 1 ? WithLeadingOnes(writer, *right)
                                       : WithStack(writer, *right);
}

bool SpellOutFusedMatMul(FormWriter& writer) {
  const Node& node = writer.node();
  const auto weight = writer.View(1);
  const float alpha = node.Float("alpha", 1.0f);
  const auto is_set = [&](const char* name) { return node.Int(name, 0) != 0; };
  const bool turned = is_set("transA");
  const bool plain = alpha == 1.0f && !turned;
  if (!weight.has_value() || weight->shape.size() != 2 || plain || writer.View(0).has_value() ||
      is_set("transBatchA") || is_set("transBatchB") || (turned && writer.opset() < kEinsumOpset)) {
    return false;
  }
  const std::string x = turned ? writer.SwapLast(writer.InputName(0)) : writer.InputName(0);
  std::string w = writer.InputName(1);
  if (is_set("transB")) w = writer.Transpose(w, {1, 0});
  const bool scaled = alpha != 1.0f;
  const std::string y = writer.Add("MatMul", {x, w}, scaled ? "" : node.output(0));
  writer.NameProduct();
  if (scaled) writer.Add("Mul", {y, writer.Scalar(alpha, weight->dtype)}, node.output(0));
  return true;
}

}  // namespace ptq
