// Sequences and optionals, as ptq/tensor/sequence.h has them.
#include "ptq/tensor/sequence.h"

#include <utility>

#include "arguments.h"

#include "ptq/ops/kernel.h"
#include "ptq/tensor/along_axis.h"

namespace ptq {
namespace {

/// Position in [0, limit); a negative one counts from `length`.
size_t Position(const KernelContext& context, size_t input, int64_t length, int64_t limit) {
  const int64_t given = ScalarInput(context, input);
  const int64_t position = given < 0 ? given + length : given;
  if (position < 0 || position >= limit) {
    throw InputError("position " + std::to_string(given) + " is outside a sequence of " +
                     std::to_string(length));
  }
  return size_t(position);
}

void SequenceInsert(KernelContext& context) {
  std::vector<Tensor> elements = ElementsOf(context.input(0));
  const auto length = int64_t(elements.size());
  const size_t at =
      context.has_input(2) ? Position(context, 2, length, length + 1) : elements.size();
  elements.insert(elements.begin() + int64_t(at), context.input(1));
  context.set_output(0, MakeSequence(std::move(elements)));
}

void SequenceErase(KernelContext& context) {
  std::vector<Tensor> elements = ElementsOf(context.input(0));
  const auto length = int64_t(elements.size());
  if (length == 0) throw InputError("nothing can be erased from an empty sequence");
  const size_t at =
      context.has_input(1) ? Position(context, 1, length, length) : elements.size() - 1;
  elements.erase(elements.begin() + int64_t(at));
  context.set_output(0, MakeSequence(std::move(elements)));
}

void SequenceAt(KernelContext& context) {
  const auto& elements = ElementsOf(context.input(0));
  const auto length = int64_t(elements.size());
  context.set_output(0, elements[Position(context, 1, length, length)]);
}

/// Lengths along an axis of `total` places: from a list, equal ones with a rest, or one place each.
Shape Lengths(const KernelContext& context, int64_t total) {
  if (!context.has_input(1)) return Shape(size_t(total), 1);
  Shape lengths = context.input(1).ToInt64s();
  if (context.input(1).rank() > 0) {
    if (MakeUp(lengths, total)) return lengths;
    throw InputError("the lengths of the parts do not add up to " + std::to_string(total));
  }
  const int64_t each = lengths.at(0);
  if (each <= 0) throw InputError("the length of a part must be positive");
  lengths.assign(size_t(total / each), each);
  if (total % each != 0) lengths.push_back(total % each);
  return lengths;
}

void SplitToSequence(KernelContext& context, int64_t axis, bool keeps_axis) {
  const Tensor& tensor = context.input(0);
  axis = NormalizeAxis(axis, tensor.rank());
  std::vector<Tensor> elements;
  int64_t begin = 0;
  for (const int64_t length : Lengths(context, tensor.dim(axis))) {
    // The axis is dropped only where no lengths are given.
    const bool keep = keeps_axis || context.has_input(1);
    elements.push_back(keep ? PartAlong(tensor, axis, begin, length)
                            : PlaceAlong(tensor, axis, begin));
    begin += length;
  }
  context.set_output(0, MakeSequence(std::move(elements)));
}

}  // namespace

std::unique_ptr<Kernel> MakeSequenceEmpty(const Node&) {
  return MakeKernel([](KernelContext& context) { context.set_output(0, MakeSequence({})); });
}

std::unique_ptr<Kernel> MakeSequenceConstruct(const Node&) {
  return MakeKernel([](KernelContext& context) {
    std::vector<Tensor> elements;
    for (size_t i = 0; i < context.input_count(); ++i) elements.push_back(context.input(i));
    context.set_output(0, MakeSequence(std::move(elements)));
  });
}

std::unique_ptr<Kernel> MakeSequenceInsert(const Node&) { return MakeKernel(SequenceInsert); }
std::unique_ptr<Kernel> MakeSequenceErase(const Node&) { return MakeKernel(SequenceErase); }
std::unique_ptr<Kernel> MakeSequenceAt(const Node&) { return MakeKernel(SequenceAt); }

std::unique_ptr<Kernel> MakeSequenceLength(const Node&) {
  return MakeKernel([](KernelContext& context) {
    const auto length = int64_t(ElementsOf(context.input(0)).size());
    context.set_output(0, Tensor::Scalar<int64_t>(length));
  });
}

std::unique_ptr<Kernel> MakeSplitToSequence(const Node& node) {
  return MakeKernel([axis = node.Int("axis", 0), keep = node.Int("keepdims", 1) != 0](
                        KernelContext& context) { SplitToSequence(context, axis, keep); });
}

std::unique_ptr<Kernel> MakeConcatFromSequence(const Node& node) {
  return MakeKernel([axis = node.RequiredInt("axis"),
                     stacks = node.Int("new_axis", 0) != 0](KernelContext& context) {
    const auto& elements = ElementsOf(context.input(0));
    context.set_output(0, stacks ? StackAlong(elements, axis) : JoinAlong(elements, axis));
  });
}

std::unique_ptr<Kernel> MakeOptional(const Node&) {
  return MakeKernel([](KernelContext& context) {
    const bool empty = !context.has_input(0);
    context.set_output(0, empty ? EmptyOptional() : context.TakeInput(0));
  });
}

std::unique_ptr<Kernel> MakeOptionalHasElement(const Node&) {
  return MakeKernel([](KernelContext& context) {
    const bool has = context.has_input(0) && context.input(0).dtype() != kEmptyOptional;
    context.set_output(0, Tensor::Scalar<bool>(has));
  });
}

std::unique_ptr<Kernel> MakeOptionalGetElement(const Node&) {
  return MakeKernel([](KernelContext& context) {
    if (context.input(0).dtype() == kEmptyOptional) {
      throw InputError("the optional has no element");
    }
    context.set_output(0, context.TakeInput(0));
  });
}

}  // namespace ptq
