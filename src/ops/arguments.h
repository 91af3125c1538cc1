// Small readers of what operators are told: integers by attribute or input, and scalars.
#pragma once

#include <cstdint>
#include <vector>

#include "ptq/ops/kernel.h"

namespace ptq {

/// The integers of input `i` where newer opsets put them, else those of the older attribute.
[[nodiscard]] inline std::vector<int64_t> InputOrAttribute(const KernelContext& context, size_t i,
                                                           const std::vector<int64_t>& attribute) {
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

/// All of `axes` in [0, rank), sorted as given. Throws InputError for one outside.
[[nodiscard]] inline std::vector<int64_t> NormalizeAxes(std::vector<int64_t> axes, int64_t rank) {
  for (int64_t& axis : axes) axis = NormalizeAxis(axis, rank);
  return axes;
}

}  // namespace ptq
