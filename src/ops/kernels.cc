#include "ptq/ops/kernel.h"

namespace ptq {

#define PTQ_KERNEL(domain, type, since, until, maker) \
  std::unique_ptr<Kernel> maker(const Node& node);
#include "kernels.inc"
#undef PTQ_KERNEL

std::span<const KernelEntry> KernelEntries() {
  static constexpr KernelEntry kEntries[] = {
#define PTQ_KERNEL(domain, type, since, until, maker) {domain, type, since, until, maker},
#include "kernels.inc"
#undef PTQ_KERNEL
  };
  return kEntries;
}

}  // namespace ptq
