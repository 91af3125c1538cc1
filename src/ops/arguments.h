// Small readers of what operators are told: integers by attribute or input, and scalars.
#pragma once

#include <cstdint>
#include <vector>

#include "ptq/ops/kernel.h"

namespace ptq {

/// The integers of input `i` where newer opsets put them, else those of the older attribute.
[[nodiscard]] inline Shape InputOrAttribute(const KernelContext& context, size_t i,
                                            const Shape& attribute) {
  return context.has_input(i) ? context.input(i).ToInt64s() : attribute;
}

/// Input `i`, an undefined tensor when it is absent.
[[nodiscard]] inline Tensor OptionalInput(const KernelContext& context, size_t i) {
  return context.has_input(i) ? context.input(i) : Tensor();
}

/// Input `i`, null when it is absent.
[[nodiscard]] inline const Tensor* InputOrNull(const KernelContext& context, size_t i) {
  return context.has_input(i) ? &context.input(i) : nullptr;
}

/// The single integer that input `i` holds. Throws InputError when it holds more or fewer.
[[nodiscard]] inline int64_t ScalarInput(const KernelContext& context, size_t i) {
  const auto values = context.input(i).ToInt64s();
  if (values.size() != 1) {
    throw InputError("input " + std::to_string(i) + " must hold one integer, it has shape " +
                     ToString(context.input(i).shape()));
  }
  return values[0];
}

/// The single element that input `i` holds, as a T. Throws InputError when it holds more or fewer.
template <class T>
[[nodiscard]] T ScalarInputOf(const KernelContext& context, size_t i) {
  const Tensor& tensor = context.input(i);
  if (tensor.size() != 1) {
    throw InputError("input " + std::to_string(i) + " must hold one element, it has shape " +
                     ToString(tensor.shape()));
  }
  return tensor.Cast(kDTypeOf<T>).template data<T>()[0];
}

/// The attribute `name`, a number of heads; 0 for an absent one where that is allowed. Throws
/// InputError for fewer than `fewest`, and for more than any model has.
[[nodiscard]] inline int64_t HeadCount(const Node& node, const char* name, int64_t fewest = 1) {
  constexpr int64_t kMost = 1 << 16;
  const int64_t heads = fewest > 0 ? node.RequiredInt(name) : node.Int(name, 0);
  if (heads < fewest || heads > kMost) {
    throw InputError("node '" + node.name() + "': " + name + " is " + std::to_string(heads) +
                     ", expected " + std::to_string(fewest) + " to " + std::to_string(kMost));
  }
  return heads;
}

/// All of `axes` in [0, rank), sorted as given. Throws InputError for one outside, or given twice.
[[nodiscard]] inline Shape NormalizeAxes(Shape axes, int64_t rank) {
  std::vector<bool> seen(size_t(rank), false);
  for (int64_t& axis : axes) {
    axis = NormalizeAxis(axis, rank);
    if (seen[size_t(axis)]) throw InputError("axis " + std::to_string(axis) + " is given twice");
    seen[size_t(axis)] = true;
  }
  return axes;
}

}  // namespace ptq
