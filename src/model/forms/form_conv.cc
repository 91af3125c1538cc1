// ai.onnx Conv whose kernel is a single point: a product over the channels.

#include <algorithm>
#include <string>

#include "linear_forms.h"

namespace ptq {
namespace {

/// With fewer channels the padding of a group is larger than the weight.
constexpr int64_t kFewestChannels = 16;

bool AreAll(const std::vector<int64_t>& values, int64_t wanted) {
  return std::ranges::all_of(values, [&](int64_t value) { return value == wanted; });
}

}  // namespace

bool SpellOutConv(FormWriter& writer) {
  const Node& node = writer.node();
  const auto weight = writer.View(1);  // [O, I, 1, …]
  if (!weight.has_value() || writer.View(0).has_value()) return false;
  const auto rank = int64_t(weight->shape.size());
  if (rank < 3 || NumElements(weight->shape, 2, rank) != 1) return false;
  if (node.Int("group", 1) != 1 || !AreAll(node.Ints("strides"), 1) ||
      !AreAll(node.Ints("pads"), 0)) {
    return false;
  }
  const int64_t outputs = weight->shape[0];
  const int64_t inputs = weight->shape[1];
  if (inputs < kFewestChannels || outputs < kFewestChannels) return false;

  std::vector<int64_t> channels_last{0};
  for (int64_t i = 2; i < rank; ++i) channels_last.push_back(i);
  channels_last.push_back(1);
  std::vector<int64_t> channels_first{0, rank - 1};
  for (int64_t i = 1; i + 1 < rank; ++i) channels_first.push_back(i);

  const std::string x = writer.Transpose(writer.InputName(0), channels_last);
  const std::string matrix = writer.Reshape(writer.InputName(1), {outputs, inputs});
  const std::string w = writer.Transpose(matrix, {1, 0});
  std::string y = writer.Add("MatMul", {x, w});
  writer.NameProduct();
  if (writer.input(2) != kNoValue) y = writer.Add("Add", {y, writer.InputName(2)});
  writer.Transpose(y, channels_first, node.output(0));
  return true;
}

}  // namespace ptq
