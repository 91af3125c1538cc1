// The places of a graph where FP16 has too few digits, or too little range.
#pragma once

#include "typing.h"

namespace ptq {

/// Keeps whole normalizations and Softmax in FP32, and of those that are spelled out the
/// statistics: what is squared for a sum or a mean, the sum, and what is computed of it up to the
/// node that brings it together with something else, that node and the scale and bias behind it
/// included.
void KeepStatistics(Typing& typing);

/// Keeps the sums in FP32 to which every block adds, and that norms read: roundings would add up
/// from block to block. They need no more Casts than the norms alone: where a sum was cast for its
/// norm, what is added to it is.
void KeepResiduals(Typing& typing);

/// Keeps sine and cosine in FP32, and what is computed of positions alone for them, for integers
/// and for comparisons.
void KeepPositions(Typing& typing);

}  // namespace ptq
