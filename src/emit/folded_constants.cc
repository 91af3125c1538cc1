// Changes a constant for one use alone, and refuses values that are too large for its type.
#include "folded_constants.h"

#include <cmath>

#include "ptq/base/error.h"
#include "ptq/base/half.h"

namespace ptq {
namespace {

/// A folded constant may use a quarter of FP16's range; activations are larger than gains.
constexpr float kHalfGainLimit = 0.25f * kHalfMax;

}  // namespace

void CheckFoldedValue(const std::string& name, DType dtype, float before, float after) {
  const bool half = dtype == DType::kFloat16;
  const bool grew = std::abs(after) > std::abs(before);
  if (std::isfinite(after) && !(half && grew && std::abs(after) > kHalfGainLimit)) return;
  throw UnsupportedError("folding a scale into '" + name + "' gives " + std::to_string(after) +
                         ", too large for " + std::string(DTypeName(dtype)) +
                         "; exclude the layers behind it or use --method rtn");
}

void FoldedConstants::Change(const Use& use, size_t size,
                             const std::function<float(size_t, float)>& change) {
  const ValueId id = graph_.inputs(use.node)[static_cast<size_t>(use.input)];
  const Value& value = graph_.value(id);
  if (value.constant == nullptr) throw InternalError("'" + value.name + "' is not a constant");
  const auto dtype = static_cast<DType>(value.constant->data_type());
  const auto key = std::make_pair(use.node, use.input);
  const auto known = changed_.find(key);
  const Tensor before = known != changed_.end()
                            ? known->second
                            : graph_.model().weights().Read(*value.constant).ToFloat32();
  if (static_cast<size_t>(before.size()) != size) {
    throw InternalError("'" + value.name + "' has " + std::to_string(before.size()) +
                        " elements, what it takes up has " + std::to_string(size));
  }
  Tensor after(DType::kFloat32, before.shape());
  const auto from = before.data<float>();
  const auto to = after.mutable_data<float>();
  for (size_t i = 0; i < to.size(); ++i) {
    to[i] = change(i, from[i]);
    CheckFoldedValue(value.name, dtype, from[i], to[i]);
  }
  const Tensor stored = after.Cast(dtype);
  editor_.SetInput(use.node, use.input,
                   store_.Add(value.name + "_scaled", dtype, stored.shape(), stored.bytes()));
  changed_[key] = after;
}

void FoldedConstants::Divide(const Use& use, std::span<const float> divisor) {
  Change(use, divisor.size(), [&](size_t i, float value) { return value / divisor[i]; });
}

void FoldedConstants::Add(const Use& use, std::span<const float> addend) {
  Change(use, addend.size(), [&](size_t i, float value) { return value + addend[i]; });
}

}  // namespace ptq
