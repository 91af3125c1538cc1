// Changes a constant for one use alone, and refuses values that are too large for its type.
#include "ptq/transform/folded_constants.h"

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

FoldedConstants::FoldedConstants(OutputGraph& graph, const TransformRequest& request)
    : graph_(graph) {
  for (const Site& site : request.sites) {
    foldable_ += int64_t(site.fold.gains.size()) + int64_t(site.fold.bias.node >= 0);
  }
}

void FoldedConstants::Divide(const Use& use, std::span<const float> divisor, DType type) {
  asked_.push_back({use, Operation::kDivide, {divisor.begin(), divisor.end()}, type});
}

void FoldedConstants::Add(const Use& use, std::span<const float> addend, DType type) {
  asked_.push_back({use, Operation::kAdd, {addend.begin(), addend.end()}, type});
}

std::string FoldedConstants::Plan() const {
  if (foldable_ == 0) return "";
  return std::to_string(foldable_) + " gains and biases may take up scales";
}

void FoldedConstants::Apply() {
  for (const Change& change : std::exchange(asked_, {})) ApplyOne(change);
}

Tensor FoldedConstants::Now(const Use& use) const {
  const auto known = changed_.find({use.node, use.input});
  if (known != changed_.end()) return known->second;
  const Graph& source = graph_.source;
  const Value& value = source.value(source.inputs(use.node)[static_cast<size_t>(use.input)]);
  if (value.constant == nullptr) throw InternalError("'" + value.name + "' is not a constant");
  return source.model().weights().Read(*value.constant).ToFloat32();
}

std::vector<float> FoldedConstants::DivisorOf(const Use& use) const {
  const auto known = divisors_.find({use.node, use.input});
  return known == divisors_.end() ? std::vector<float>() : known->second;
}

void FoldedConstants::ApplyOne(const Change& change) {
  const auto& [use, operation, operand, type] = change;
  const Graph& source = graph_.source;
  const Value& value = source.value(source.inputs(use.node)[static_cast<size_t>(use.input)]);
  if (value.constant == nullptr) throw InternalError("'" + value.name + "' is not a constant");
  const auto dtype =
      type != DType::kUndefined ? type : static_cast<DType>(value.constant->data_type());
  const Tensor before = Now(use);
  if (static_cast<size_t>(before.size()) != operand.size()) {
    throw InternalError("'" + value.name + "' has " + std::to_string(before.size()) +
                        " elements, what it takes up has " + std::to_string(operand.size()));
  }
  Tensor after(DType::kFloat32, before.shape());
  const auto from = before.data<float>();
  const auto to = after.mutable_data<float>();
  for (size_t i = 0; i < to.size(); ++i) {
    to[i] = operation == Operation::kDivide ? from[i] / operand[i] : from[i] + operand[i];
    CheckFoldedValue(value.name, dtype, from[i], to[i]);
  }
  const Tensor stored = after.Cast(dtype);
  graph_.editor->SetInput(
      use.node, use.input,
      graph_.store.Add(value.name + "_scaled", dtype, stored.shape(), stored.bytes()));
  changed_[{use.node, use.input}] = after;
  if (operation != Operation::kDivide) return;
  auto& divisor = divisors_[{use.node, use.input}];
  divisor.resize(operand.size(), 1.0f);
  for (size_t i = 0; i < operand.size(); ++i) divisor[i] *= operand[i];
}

}  // namespace ptq
