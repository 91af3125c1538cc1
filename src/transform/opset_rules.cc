// The table of changed operators, each with its last change and the rewriting, if there is one.
#include "opset_rules.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <string_view>

#include "ptq/model/node_builder.h"

namespace ptq {
namespace {

bool HasOutput(const onnx::NodeProto& node, int i) {
  return i < node.output_size() && !node.output(i).empty();
}

/// A new constant [values]; returns its name.
std::string AddInt64s(const std::string& wanted, const std::vector<int64_t>& values,
                      RewriteContext& context) {
  onnx::TensorProto& tensor = context.constants.emplace_back();
  tensor.set_name(context.names.Take(wanted));
  tensor.set_data_type(onnx::TensorProto::INT64);
  tensor.add_dims(static_cast<int64_t>(values.size()));
  for (const int64_t value : values) tensor.add_int64_data(value);
  return tensor.name();
}

/// Turns an attribute of integers into the constant input number `input`. Absent: nothing to do.
void AttributeToInput(onnx::NodeProto& node, const std::string& name, int input,
                      RewriteContext& context) {
  const auto* attribute = FindAttribute(node, name);
  if (attribute == nullptr) return;
  std::vector<int64_t> values(attribute->ints().begin(), attribute->ints().end());
  if (attribute->type() == onnx::AttributeProto::INT) values = {attribute->i()};
  while (node.input_size() < input) node.add_input("");
  node.add_input(AddInt64s(node.output(0) + "_" + name, values, context));
  RemoveAttribute(node, name);
}

bool RewriteAxes(onnx::NodeProto& node, int64_t, RewriteContext& context) {
  AttributeToInput(node, "axes", 1, context);
  return true;
}

bool RewriteSplit(onnx::NodeProto& node, int64_t from, RewriteContext& context) {
  if (from < 13) AttributeToInput(node, "split", 1, context);
  const bool sizes_given = node.input_size() > 1 && !node.input(1).empty();
  if (!sizes_given) SetInt(node, "num_outputs", node.output_size());
  return true;
}

bool RewriteSlice(onnx::NodeProto& node, int64_t, RewriteContext& context) {
  AttributeToInput(node, "starts", 1, context);
  AttributeToInput(node, "ends", 2, context);
  AttributeToInput(node, "axes", 3, context);
  return true;
}

bool RewriteTopK(onnx::NodeProto& node, int64_t, RewriteContext& context) {
  AttributeToInput(node, "k", 1, context);
  return true;
}

bool RewritePad(onnx::NodeProto& node, int64_t, RewriteContext& context) {
  const auto* value = FindAttribute(node, "value");
  if (value != nullptr && value->f() != 0.0f) return false;  // would need the element type
  RemoveAttribute(node, "value");
  AttributeToInput(node, "pads", 1, context);
  return true;
}

bool RewriteDropout(onnx::NodeProto& node, int64_t, RewriteContext&) {
  if (HasOutput(node, 1)) return false;
  RemoveAttribute(node, "ratio");  // without training_mode the operator is the identity
  return true;
}

bool RewriteBatchNormalization(onnx::NodeProto& node, int64_t, RewriteContext&) {
  const auto* spatial = FindAttribute(node, "spatial");
  if (spatial != nullptr && spatial->i() != 1) return false;
  for (int i = 1; i < node.output_size(); ++i) {
    if (HasOutput(node, i)) return false;
  }
  RemoveAttribute(node, "spatial");
  return true;
}

bool RewriteScatter(onnx::NodeProto& node, int64_t, RewriteContext&) {
  node.set_op_type("ScatterElements");
  return true;
}

bool RewriteAveragePool(onnx::NodeProto& node, int64_t, RewriteContext&) {
  const auto* ceil_mode = FindAttribute(node, "ceil_mode");
  return ceil_mode == nullptr || ceil_mode->i() == 0;
}

bool RewriteResize(onnx::NodeProto& node, int64_t from, RewriteContext&) {
  if (from < 11) return false;
  const auto* mode = FindAttribute(node, "coordinate_transformation_mode");
  return mode == nullptr || mode->s() != "tf_half_pixel_for_nn";
}

/// Before opset 13 the input was seen as a matrix: dimensions before `axis` are its rows, the
/// others its columns. That is the same as today's meaning only when `axis` is the last one;
/// otherwise the matrix is made with Flatten and undone with Reshape.
bool RewriteSoftmax(onnx::NodeProto& node, int64_t, RewriteContext& context) {
  const auto* attribute = FindAttribute(node, "axis");
  const int64_t axis = attribute != nullptr ? attribute->i() : 1;
  const std::string input = node.input(0);
  const auto rank = context.ranks.Of(input);
  RemoveAttribute(node, "axis");
  SetInt(node, "axis", -1);
  if (axis == -1 || (rank.has_value() && axis == *rank - 1)) return true;

  const std::string output = node.output(0);
  const std::string shape = context.names.Take(output + "_shape");
  const std::string rows = context.names.Take(output + "_rows");
  const std::string result = context.names.Take(output + "_flat");
  auto flatten = MakeNode("Flatten", rows, {input}, rows);
  SetInt(flatten, "axis", axis);
  context.before.push_back(MakeNode("Shape", shape, {input}, shape));
  context.before.push_back(std::move(flatten));
  node.set_input(0, rows);
  node.set_output(0, result);
  context.behind.push_back(
      MakeNode("Reshape", context.names.Take(output + "_reshape"), {result, shape}, output));
  return true;
}

using Rewrite = bool (*)(onnx::NodeProto&, int64_t, RewriteContext&);

struct Change {
  int64_t since;    ///< the last opset, up to 21, that changed the meaning or the signature
  Rewrite rewrite;  ///< null: no safe form
};

// From the operators' changelog in the ONNX specification. New optional inputs and attributes whose
// defaults keep the old meaning, and new element types, are no changes.
const std::map<std::string, Change>& Changes() {
  static const std::map<std::string, Change> kChanges = {
      {"AveragePool", {19, RewriteAveragePool}},
      {"BatchNormalization", {14, RewriteBatchNormalization}},
      {"Clip", {11, nullptr}},
      {"DFT", {20, nullptr}},
      {"Dropout", {12, RewriteDropout}},
      {"GridSample", {20, nullptr}},
      {"GroupNormalization", {21, nullptr}},
      {"Hardmax", {13, RewriteSoftmax}},
      {"LogSoftmax", {13, RewriteSoftmax}},
      {"Pad", {11, RewritePad}},
      {"ReduceL1", {18, RewriteAxes}},
      {"ReduceL2", {18, RewriteAxes}},
      {"ReduceLogSum", {18, RewriteAxes}},
      {"ReduceLogSumExp", {18, RewriteAxes}},
      {"ReduceMax", {18, RewriteAxes}},
      {"ReduceMean", {18, RewriteAxes}},
      {"ReduceMin", {18, RewriteAxes}},
      {"ReduceProd", {18, RewriteAxes}},
      {"ReduceSum", {13, RewriteAxes}},
      {"ReduceSumSquare", {18, RewriteAxes}},
      {"Resize", {13, RewriteResize}},
      {"RoiAlign", {16, nullptr}},
      {"Scan", {9, nullptr}},
      {"Scatter", {11, RewriteScatter}},
      {"Slice", {10, RewriteSlice}},
      {"Softmax", {13, RewriteSoftmax}},
      {"Split", {18, RewriteSplit}},
      {"Squeeze", {13, RewriteAxes}},
      {"TopK", {10, RewriteTopK}},
      {"Unsqueeze", {13, RewriteAxes}},
      {"Upsample", {22, nullptr}},  // removed in opset 10
  };
  return kChanges;
}

/// Operators that mean at opset 21 what they always meant. SimplifiedLayerNormalization is ONNX
/// Runtime's own, in the default domain.
constexpr std::string_view kUnchanged =
    "Abs Acos Acosh Add AffineGrid And ArgMax ArgMin Asin Asinh Atan Atanh Bernoulli BitShift "
    "BitwiseAnd BitwiseNot BitwiseOr BitwiseXor BlackmanWindow Cast CastLike Ceil Celu "
    "CenterCropPad Col2Im Compress Concat ConcatFromSequence Constant ConstantOfShape Conv "
    "ConvInteger ConvTranspose Cos Cosh CumSum DeformConv DepthToSpace DequantizeLinear Det "
    "Div DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU "
    "Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool "
    "Greater GreaterOrEqual HammingWindow HannWindow HardSigmoid HardSwish Identity If "
    "InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual "
    "Log Loop LpNormalization LpPool MatMul MatMulInteger Max MaxPool MaxRoiPool MaxUnpool "
    "Mean MeanVarianceNormalization MelWeightMatrix Min Mish Mod Mul Multinomial Neg "
    "NegativeLogLikelihoodLoss NonMaxSuppression NonZero Not OneHot Optional "
    "OptionalGetElement OptionalHasElement Or PRelu Pow QLinearConv QLinearMatMul "
    "QuantizeLinear RNN RandomNormal RandomNormalLike RandomUniform RandomUniformLike Range "
    "Reciprocal RegexFullMatch Relu Reshape ReverseSequence Round STFT ScatterElements "
    "ScatterND Selu SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert "
    "SequenceLength SequenceMap Shape Shrink Sigmoid Sign SimplifiedLayerNormalization Sin "
    "Sinh Size SoftmaxCrossEntropyLoss Softplus Softsign SpaceToDepth SplitToSequence Sqrt "
    "StringConcat StringNormalizer StringSplit Sub Sum Tan Tanh TfIdfVectorizer "
    "ThresholdedRelu Tile Transpose Trilu Unique Where Xor";

bool IsUnchanged(const std::string& type) {
  static const std::set<std::string> kTypes = [] {
    std::istringstream words{std::string(kUnchanged)};
    return std::set<std::string>(std::istream_iterator<std::string>(words), {});
  }();
  return kTypes.contains(type);
}

}  // namespace

int64_t StableSince(const std::string& op_type) {
  const auto found = Changes().find(op_type);
  if (found != Changes().end()) return found->second.since;
  return IsUnchanged(op_type) ? 0 : -1;
}

bool RewriteNode(onnx::NodeProto& node, int64_t from, RewriteContext& context) {
  const auto found = Changes().find(node.op_type());
  if (found == Changes().end() || found->second.rewrite == nullptr) return false;
  return found->second.rewrite(node, from, context);
}

}  // namespace ptq
