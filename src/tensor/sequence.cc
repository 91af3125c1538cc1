// Hides the elements of a sequence behind a view of no bytes, which keeps them alive.
#include "ptq/tensor/sequence.h"

namespace ptq {

Tensor MakeSequence(std::vector<Tensor> elements) {
  const auto length = static_cast<int64_t>(elements.size());
  auto owner = std::make_shared<const std::vector<Tensor>>(std::move(elements));
  // A view of no bytes, at the place of the elements.
  const auto* place = reinterpret_cast<const std::byte*>(owner.get());
  return Tensor::View(kSequence, {length}, {place, size_t{0}}, std::move(owner));
}

const std::vector<Tensor>& ElementsOf(const Tensor& sequence) {
  if (sequence.dtype() != kSequence) {
    throw InputError("expected a sequence, found a tensor of type " +
                     std::string(DTypeName(sequence.dtype())));
  }
  return *reinterpret_cast<const std::vector<Tensor>*>(sequence.bytes().data());
}

Tensor EmptyOptional() { return Tensor::View(kEmptyOptional, {0}, {}, nullptr); }

}  // namespace ptq
