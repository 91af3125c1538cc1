// Concat and Split: runs of whole rows along one axis.

#include "arguments.h"
#include "strided.h"

#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

bool AgreeExceptOn(size_t axis, const Shape& a, const Shape& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (i != axis && a[i] != b[i]) return false;
  }
  return true;
}

/// The inputs that count. One without elements adds its length if its other dimensions agree with
/// those of the others, and is left out if not: a zero-length past may come with a guessed number
/// of heads.
std::vector<Tensor> OperandsOf(const KernelContext& context, int64_t axis) {
  size_t model = 0;
  for (size_t i = 0; i < context.input_count(); ++i) {
    if (context.input(i).size() > 0) {
      model = i;
      break;
    }
  }
  const Shape& shape = context.input(model).shape();
  const auto along = static_cast<size_t>(NormalizeAxis(axis, context.input(model).rank()));
  std::vector<Tensor> operands;
  for (size_t i = 0; i < context.input_count(); ++i) {
    const Tensor& input = context.input(i);
    if (input.dtype() != context.input(model).dtype()) {
      throw InputError("Concat: element types " + std::string(DTypeName(input.dtype())) + " and " +
                       std::string(DTypeName(context.input(model).dtype())) + " differ");
    }
    if (AgreeExceptOn(along, input.shape(), shape)) {
      operands.push_back(input);
    } else if (input.size() > 0) {
      throw InputError("Concat: shapes " + ToString(shape) + " and " + ToString(input.shape()) +
                       " differ outside axis " + std::to_string(along));
    }
  }
  return operands;
}

Tensor Concatenate(const std::vector<Tensor>& operands, int64_t axis) {
  axis = NormalizeAxis(axis, operands[0].rank());
  Shape shape = operands[0].shape();
  int64_t total = 0;
  for (const Tensor& operand : operands) total += operand.dim(axis);
  shape[static_cast<size_t>(axis)] = total;
  for (const Tensor& operand : operands) {
    if (operand.shape() == shape) return operand;  // the others are empty
  }
  Tensor result(operands[0].dtype(), shape);
  if (result.size() == 0) return result;
  const auto width = static_cast<int64_t>(ElementBytes(result.dtype()));
  const int64_t rows = NumElements(shape, 0, axis);
  const int64_t inner = NumElements(shape, axis + 1, result.rank()) * width;
  std::byte* to = result.mutable_bytes().data();
  for (const Tensor& operand : operands) {
    const int64_t run = operand.dim(axis) * inner;
    CopyRows(to, total * inner, operand.bytes().data(), run, run, rows);
    to += run;
  }
  return result;
}

/// Lengths when the axis is only told to be cut in `parts`: equal, the last one shorter.
Shape EqualParts(int64_t length, size_t parts) {
  const auto count = static_cast<int64_t>(parts);
  const int64_t each = (length + count - 1) / count;
  Shape lengths(parts, each);
  lengths.back() = length - each * (count - 1);
  return lengths;
}

void CheckLengths(const Shape& lengths, int64_t length, size_t outputs) {
  const bool valid = lengths.size() == outputs && MakeUp(lengths, length);
  if (!valid) {
    throw InputError("Split: the lengths " + ToString(lengths) + " do not cut " +
                     std::to_string(length) + " elements into " + std::to_string(outputs) +
                     " outputs");
  }
}

void Split(KernelContext& context, int64_t axis, const Shape& attribute) {
  const size_t outputs = context.output_count();
  auto lengths = InputOrAttribute(context, 1, attribute);
  const Tensor data = context.TakeInput(0);
  axis = NormalizeAxis(axis, data.rank());
  const int64_t length = data.dim(axis);
  if (lengths.empty()) lengths = EqualParts(length, outputs);
  CheckLengths(lengths, length, outputs);
  const auto width = static_cast<int64_t>(ElementBytes(data.dtype()));
  const int64_t rows = NumElements(data.shape(), 0, axis);
  const int64_t inner = NumElements(data.shape(), axis + 1, data.rank()) * width;
  const std::byte* from = data.bytes().data();
  for (size_t i = 0; i < outputs; ++i) {
    const int64_t run = lengths[i] * inner;
    if (lengths[i] == length) {
      context.set_output(i, data);
    } else if (context.wants(i)) {
      Shape shape = data.shape();
      shape[static_cast<size_t>(axis)] = lengths[i];
      Tensor part(data.dtype(), std::move(shape));
      CopyRows(part.mutable_bytes().data(), run, from, length * inner, run, rows);
      context.set_output(i, std::move(part));
    }
    from += run;
  }
}

}  // namespace

/// ai.onnx Concat.
std::unique_ptr<Kernel> MakeConcat(const Node& node) {
  const int64_t axis = node.RequiredInt("axis");
  return MakeKernel([axis](KernelContext& context) {
    context.set_output(0, Concatenate(OperandsOf(context, axis), axis));
  });
}

/// ai.onnx Split: lengths by attribute before opset 13, by input since; equal parts without them.
/// `num_outputs` (opset 18) always equals the number of outputs, which is what is used.
std::unique_ptr<Kernel> MakeSplit(const Node& node) {
  const int64_t axis = node.Int("axis", 0);
  return MakeKernel([axis, lengths = node.Ints("split")](KernelContext& context) {
    Split(context, axis, lengths);
  });
}

}  // namespace ptq
