// Lists the operators of each family.
#include "operator_kinds.h"

#include <set>

namespace ptq {

bool IsElementwise(const std::string& type) {
  static const std::set<std::string> kTypes = {
      "Abs",  "Add",   "Ceil", "Clip", "Div",        "Equal",   "Exp",   "Floor", "Greater",
      "Less", "Log",   "Max",  "Mean", "Min",        "Mod",     "Mul",   "Neg",   "GreaterOrEqual",
      "Pow",  "PRelu", "Relu", "Sign", "Reciprocal", "Sigmoid", "Round", "Sqrt",  "LessOrEqual",
      "Sub",  "Sum",   "Tanh"};
  return kTypes.contains(type);
}

bool MovesElements(const std::string& type) {
  static const std::set<std::string> kTypes = {"Cast",
                                               "CastLike",
                                               "Compress",
                                               "Concat",
                                               "ConstantOfShape",
                                               "Dropout",
                                               "Expand",
                                               "DepthToSpace",
                                               "EyeLike",
                                               "Flatten",
                                               "Gather",
                                               "GatherND",
                                               "GatherElements",
                                               "Identity",
                                               "Pad",
                                               "Reshape",
                                               "ScatterND",
                                               "ScatterElements",
                                               "Slice",
                                               "SpaceToDepth",
                                               "Split",
                                               "Squeeze",
                                               "Tile",
                                               "TensorScatter",
                                               "Transpose",
                                               "Trilu",
                                               "Unsqueeze",
                                               "Where"};
  return kTypes.contains(type);
}

bool IsReduction(const std::string& type) {
  static const std::set<std::string> kTypes = {"CumSum",       "ReduceL1",        "ReduceL2",
                                               "ReduceLogSum", "ReduceLogSumExp", "ReduceMean",
                                               "ReduceProd",   "ReduceSumSquare", "ReduceSum"};
  return kTypes.contains(type);
}

bool EndsMask(const std::string& type) {
  static const std::set<std::string> kTypes = {
      "ArgMax",    "ArgMin", "Attention", "Equal",       "Exp",        "Greater", "GreaterOrEqual",
      "IsInf",     "IsNaN",  "Less",      "LessOrEqual", "LogSoftmax", "NonZero", "ReduceMax",
      "ReduceMin", "Shape",  "Sigmoid",   "Size",        "Softmax",    "TopK"};
  return kTypes.contains(type);
}

}  // namespace ptq
