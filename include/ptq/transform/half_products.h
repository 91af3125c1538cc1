// Keeps runtimes from computing FP16 products of codes as FP32 ones without their scales.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <unordered_set>

#include "ptq/transform/transform.h"

namespace ptq {

/// Puts a Cast to FP32 and one back in front of each FP16 MatMulNBits of accuracy level 4 whose
/// activation a node of the same graph makes; readers share them. ONNX Runtime (1.32, CPU) makes an
/// FP16 node an FP32 one where no neighbour has a kernel for FP16, and casts its scales while the
/// model runs; but the kernel is prepared without them then, and gives wrong values below the
/// optimization level ALL, and at each level within a subgraph. A Cast is a neighbour that has one,
/// and the two are taken out behind that decision. `halves`: FP16 initializers outside of the
/// graph's own list; `unique` makes names. How many pairs were added.
int ShieldHalfProducts(onnx::GraphProto& graph, std::unordered_set<std::string> halves,
                       const std::function<std::string(const std::string&)>& unique);

/// The same as a pass: on the products that a run has written.
class HalfProducts : public Transform {
 public:
  HalfProducts(OutputGraph& graph, const TransformRequest& request)
      : graph_(graph), plan_(request.plan) {}

  [[nodiscard]] std::string_view name() const override { return "half products"; }
  [[nodiscard]] TransformStage stage() const override { return TransformStage::kHeld; }
  [[nodiscard]] std::string Plan() const override;
  void Apply() override;

 private:
  OutputGraph& graph_;
  const ptq::Plan* plan_;
};

}  // namespace ptq
