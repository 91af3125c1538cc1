// A constant matrix whose rows are made when a step reads them.
#pragma once

#include "ptq/runtime/executor.h"

namespace ptq {

/// A deferred weight that the graph holds as [N, K], so that a Gather may pick its rows.
class DeferredTable : public DeferredWeight {};

}  // namespace ptq
