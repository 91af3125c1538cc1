// Makes the list of all kernels from kernels.inc.
#include "makers.h"

namespace ptq {

std::span<const KernelEntry> KernelEntries() {
  static constexpr KernelEntry kEntries[] = {
#define PTQ_KERNEL(domain, type, since, until, maker) {domain, type, since, until, maker},
#include "kernels.inc"
#undef PTQ_KERNEL
  };
  return kEntries;
}

}  // namespace ptq
