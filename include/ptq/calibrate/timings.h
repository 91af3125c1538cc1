// Where the time of a run goes.
#pragma once

namespace ptq {

/// Seconds spent in each part of the road.
struct Timings {
  double read = 0;        ///< model, samples
  double forward = 0;     ///< samples through the original weights
  double statistics = 0;  ///< Gram matrices of what was seen
  double exchange = 0;    ///< sums and results from rank to rank, waiting for others included
  double search = 0;      ///< scales, grids, codes
  double propagate = 0;   ///< samples through the quantized weights
  double pack = 0;        ///< codes into bytes, appended to the data file
  double checkpoint = 0;  ///< what a resumed run needs, made durable
  double write = 0;       ///< everything else of the output
  double verify = 0;
  double total = 0;
};

}  // namespace ptq
