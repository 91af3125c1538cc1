// In which types the file holds a constant that nodes of both types may read.
#pragma once

#include "constant_facts.h"
#include "typing.h"

namespace ptq {

/// What becomes of a constant.
enum class ConstantForm {
  kAsIs,    ///< and Casts for who wants another type
  kHalved,  ///< FP16 under its name, and Casts for who wants another type
  kBoth,    ///< as it is under its name, and a copy in FP16: it is too small for a Cast
};

[[nodiscard]] ConstantForm FormOfConstant(const Typing& typing, int value);

/// The type in which a constant is known under its name.
[[nodiscard]] DType StoredType(const Typing& typing, int value);

}  // namespace ptq
