// What tells an input that a model cannot read from a file that cannot be read.
#pragma once

#include "ptq/base/error.h"

namespace ptq {

/// A kernel does not take what reaches it: shapes that do not fit, an index outside its axis. The
/// message begins with the node.
class RefusedInput : public InputError {
 public:
  using InputError::InputError;
};

}  // namespace ptq
