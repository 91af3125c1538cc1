// What the elements of constants mean for a conversion to FP16.
#pragma once

#include <cstdint>
#include <unordered_map>

#include <onnx/onnx_pb.h>

#include "ptq/model/model.h"

namespace ptq {

struct ConstantFacts {
  int64_t elements = 0;
  float largest = 0;     ///< |x| of the finite ones
  float smallest = 0;    ///< |x| of those that are not zero; 0 when all are
  bool negative = true;  ///< all beyond FP16 are negative
  /// Whether a finite element would become infinite.
  [[nodiscard]] bool overflows() const;
  /// Whether it is a number by itself, so small that FP16 has few digits of it, or none.
  [[nodiscard]] bool is_tiny() const;
  /// The same of a tensor as a whole: FP16 has less than eight bits of its largest element.
  [[nodiscard]] bool underflows() const;
};

/// Reads each constant once, and lets it go.
class ConstantReader {
 public:
  explicit ConstantReader(const WeightReader& weights) : weights_(weights) {}
  /// Nothing is known of what cannot be read here: what the output has been given already.
  [[nodiscard]] const ConstantFacts& Of(const onnx::TensorProto& tensor);

 private:
  const WeightReader& weights_;
  std::unordered_map<const onnx::TensorProto*, ConstantFacts> known_;
};

}  // namespace ptq
