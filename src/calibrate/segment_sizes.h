// What the weights and sites of each segment of a model need while it is calibrated and searched.
#pragma once

#include <cstdint>
#include <vector>

#include "ptq/plan/plan.h"
#include "ptq/runtime/executor.h"

namespace ptq {

/// Sizes of one segment.
struct SegmentSize {
  int64_t elements = 0;  ///< of the weights that calibration runs (not the head)
  int64_t codes = 0;     ///< bytes of its linears' results before they are packed
  int64_t stored = 0;    ///< bytes of all its linears' weights in the file
  int64_t searched = 0;  ///< ... of those that are quantized
  int64_t kept = 0;      ///< ... of the others, as far as they are mapped at once
  int64_t results = 0;   ///< bytes of its weights in the written file, as far as they are mapped
  int64_t widest = 0;    ///< elements of the largest quantized weight
  int64_t grams = 0;     ///< bytes
  int64_t largest_gram = 0;
  int64_t sample = 0;    ///< ... of the tokens that are kept of its widest site
  int64_t row_tile = 0;  ///< bytes of the rows that are quantized together
  int64_t site = 0;      ///< weight elements of its largest site
  int64_t tables = 0;    ///< bytes that rows are gathered from where they are mapped
  int64_t copies = 0;    ///< ... of tables that lie misaligned in the file, which are copied
  int64_t held = 0;      ///< ... of codes of experts that wait for the others of their node
  int64_t inputs = 0;    ///< widths of its sites' activations, and of its linears' outputs
  int64_t outputs = 0;
};

/// Of all segments, in their order.
[[nodiscard]] std::vector<SegmentSize> SizesOf(const Executor& executor, const Plan& plan);

}  // namespace ptq
