// Values of a graph that are no tensors but travel where tensors do: sequences and empty optionals.
#pragma once

#include <vector>

#include "ptq/tensor/tensor.h"

namespace ptq {

/// Element types of such values; no file has these numbers.
inline constexpr auto kSequence = static_cast<DType>(1000);
inline constexpr auto kEmptyOptional = static_cast<DType>(1001);

/// A sequence as a Tensor of type kSequence and shape [length], which has no bytes of its own.
[[nodiscard]] Tensor MakeSequence(std::vector<Tensor> elements);
/// The tensors of a sequence, as long as it lives. Throws InputError when it is none.
[[nodiscard]] const std::vector<Tensor>& ElementsOf(const Tensor& sequence);
/// An optional that holds nothing. One that holds something is that thing itself.
[[nodiscard]] Tensor EmptyOptional();

}  // namespace ptq
