// One rule's view of a node that takes quantized weights, and the rules by operator. Each emits the
// float form of its node and returns true, or leaves the node alone and returns false.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "dequantize_rewriter.h"

namespace ptq::dequantize {

using Stored = QuantizedWeight::Stored;
inline constexpr char kMicrosoft[] = "com.microsoft";

[[nodiscard]] inline Shape ShapeOf(const onnx::TensorProto& tensor) {
  return {tensor.dims().begin(), tensor.dims().end()};
}
[[nodiscard]] inline DType TypeOf(const onnx::TensorProto& tensor) {
  return static_cast<DType>(tensor.data_type());
}
/// Two dimensions of more than one element: a weight, not a bias or a scalar.
[[nodiscard]] bool IsWeight(const Stored& tensor);
/// Codes of at least two dimensions, which are a weight where a product reads them.
[[nodiscard]] bool IsOperand(const Stored& tensor);

/// The node, and what a rule finds and emits.
struct Rule {
  DequantizeRewriter& to;
  const Node& node;

  [[nodiscard]] std::string in(int i) const { return node.has_input(i) ? node.input(i) : ""; }
  [[nodiscard]] Stored constant(int i) const { return to.Constant(in(i)); }
  [[nodiscard]] std::string output() const { return node.output(0); }
  /// The node's name without what quantizers append.
  [[nodiscard]] std::string name() const;
  [[nodiscard]] std::string Fresh(const std::string& what) const {
    return to.Unique(output() + "/" + what);
  }
  /// Those of the node that are among `names`.
  void CopyAttributes(onnx::NodeProto& heir, std::initializer_list<std::string_view> names) const;
  /// x · w + bias under the node's output.
  void EmitProduct(const std::string& x, const std::string& w, const std::string& bias) const;
  /// The float value behind an activation's codes: what a DynamicQuantizeLinear has read, or a
  /// DequantizeLinear.
  [[nodiscard]] std::string FloatOf(const std::string& codes, const std::string& scale,
                                    const std::string& zero) const;
  /// Codes of any integer type with a scale for the tensor or for each index of an axis.
  [[nodiscard]] std::string AddLinear(const Stored& codes, const Stored& scale, const Stored& zero,
                                      int64_t axis, int64_t block = 0) const;
};

// rules_blocked.cc: codes in blocks, each with a scale.
bool MatMulNBits(const Rule& rule);
bool MatMulBnb4(const Rule& rule);
bool GatherBlockQuantized(const Rule& rule);
bool QMoE(const Rule& rule);

// rules_linear.cc: a scale for the tensor or for each index of an axis.
bool DequantizeLinear(const Rule& rule);
/// What quantize_dynamic makes of a product: Cast(MatMulInteger) · (scale of x · scale of w).
bool DynamicProduct(const Rule& rule);
bool DynamicQuantizeMatMul(const Rule& rule);
bool MatMulIntegerToFloat(const Rule& rule);
bool QLinearMatMul(const Rule& rule);
/// QLinearConv of ai.onnx, and QGemm, which differ in where the output's scale stands.
bool LinearWithBias(const Rule& rule);
bool QAttention(const Rule& rule);

// rules_cache.cc: past keys and values.
/// An attention that keeps codes of past keys and values keeps floats.
bool QuantizedCache(const Rule& rule);
/// The same where the graph makes codes of new rows and puts them behind past ones, and floats of
/// all of them.
bool CastOfCache(const Rule& rule);
/// What branches hand out is of another type then.
bool BranchesWithCaches(const Rule& rule);

}  // namespace ptq::dequantize
