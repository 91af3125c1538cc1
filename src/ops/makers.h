// Declares the maker of every kernel, and runs one kernel inside another.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "ptq/ops/kernel.h"

namespace ptq {

#define PTQ_KERNEL(domain, type, since, until, maker) \
  std::unique_ptr<Kernel> maker(const Node& node);
#include "kernels.inc"
#undef PTQ_KERNEL

/// The first output of `kernel` on `inputs`; an undefined tensor is an input left out.
[[nodiscard]] inline Tensor RunKernel(const Kernel& kernel, std::vector<Tensor> inputs) {
  KernelContext context(std::move(inputs), 1, {true});
  kernel.Run(context);
  return std::move(context.outputs()[0]);
}

}  // namespace ptq
