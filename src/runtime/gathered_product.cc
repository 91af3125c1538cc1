// Sorts the rows of an activation by the matrix that they pick, and multiplies with each once.
#include "gathered_product.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "ptq/base/error.h"
#include "ptq/model/constant_view.h"
#include "ptq/tensor/gemm.h"

namespace ptq {
namespace {

/// Nodes between the Gather and the product, each of which reads the one before.
using Chain = std::vector<std::shared_ptr<const Kernel>>;

Tensor RunOne(const Kernel& kernel, std::vector<Tensor> inputs) {
  KernelContext context(std::move(inputs), 1, {true});
  kernel.Run(context);
  return std::move(context.outputs().front());
}

/// Inputs: the activation [.., M, K], the stack [E, A, B], indices [..].
class GatheredProduct : public Kernel {
 public:
  GatheredProduct(bool swapped, Chain chain, std::shared_ptr<const Kernel> product)
      : swapped_(swapped), chain_(std::move(chain)), product_(std::move(product)) {}

  void Run(KernelContext& context) const override {
    const Tensor x = context.TakeInput(0);
    const Tensor& stack = context.input(1);
    const Tensor& indices = context.input(2);
    context.set_output(
        0, Fits(x, stack, indices) ? Multiply(x, stack, indices) : NodeByNode(x, stack, indices));
  }

 private:
  [[nodiscard]] bool Fits(const Tensor& x, const Tensor& stack, const Tensor& indices) const {
    if (x.rank() < 2 || stack.rank() != 3 || x.rank() != indices.rank() + 2) return false;
    return x.dim(-1) == stack.dim(swapped_ ? 2 : 1) &&
           std::equal(indices.shape().begin(), indices.shape().end(), x.shape().begin()) &&
           x.dtype() == DType::kFloat32 && stack.dtype() == DType::kFloat32;
  }

  [[nodiscard]] Tensor NodeByNode(const Tensor& x, const Tensor& stack,
                                  const Tensor& indices) const {
    Tensor matrices = RunOne(*chain_.front(), {stack, indices});
    for (size_t i = 1; i < chain_.size(); ++i) {
      matrices = RunOne(*chain_[i], {std::move(matrices)});
    }
    return RunOne(*product_, {x, std::move(matrices)});
  }

  /// The places of indices, by the matrix that they pick.
  [[nodiscard]] static std::vector<std::vector<int64_t>> Places(const Tensor& indices,
                                                                int64_t matrices) {
    std::vector<std::vector<int64_t>> places(static_cast<size_t>(matrices));
    const std::vector<int64_t> picked = indices.ToInt64s();
    for (size_t i = 0; i < picked.size(); ++i) {
      const int64_t matrix = picked[i] < 0 ? picked[i] + matrices : picked[i];
      if (matrix < 0 || matrix >= matrices) {
        throw InputError("index " + std::to_string(picked[i]) + " is not among the " +
                         std::to_string(matrices) + " matrices of the stack");
      }
      places[size_t(matrix)].push_back(int64_t(i));
    }
    return places;
  }

  [[nodiscard]] Tensor Multiply(const Tensor& x, const Tensor& stack, const Tensor& indices) const {
    const int64_t a = stack.dim(1), b = stack.dim(2);
    const int64_t k = x.dim(-1), n = swapped_ ? a : b;
    const int64_t rows = x.dim(-2);  // of one index
    Shape shape = x.shape();
    shape.back() = n;
    Tensor y(DType::kFloat32, shape);
    const float* const from = x.data<float>().data();
    float* const to = y.mutable_data<float>().data();
    const float* matrix = stack.data<float>().data();
    std::vector<float> in, out;
    for (const std::vector<int64_t>& places : Places(indices, stack.dim(0))) {
      const int64_t all = int64_t(places.size()) * rows;
      in.resize(size_t(all * k));
      out.resize(size_t(all * n));
      for (size_t i = 0; i < places.size(); ++i) {
        std::copy_n(from + places[i] * rows * k, rows * k, in.data() + int64_t(i) * rows * k);
      }
      if (all > 0) {
        Gemm(1.0F, {in.data(), all, k, k}, {matrix, a, b, b, swapped_}, 0.0F, out.data(), n);
      }
      for (size_t i = 0; i < places.size(); ++i) {
        std::copy_n(out.data() + int64_t(i) * rows * n, rows * n, to + places[i] * rows * n);
      }
      matrix += a * b;
    }
    return y;
  }

  const bool swapped_;
  const Chain chain_;
  const std::shared_ptr<const Kernel> product_;
};

/// The kernels from a Gather to what the product reads; nothing when one is not to be passed over.
Chain ChainTo(const Graph& graph, ValueId operand, int gather, const std::vector<Step>& steps) {
  Chain chain;
  for (int node = graph.value(operand).producer;; node = graph.value(operand).producer) {
    const Node& one = graph.nodes()[size_t(node)];
    // A Cast may round.
    if (one.op_type() == "Cast" || steps[size_t(node)].kernel == nullptr) return {};
    chain.push_back(CreateKernel(one));
    if (node == gather) break;
    operand = graph.inputs(node)[0];
  }
  std::ranges::reverse(chain);
  return chain;
}

}  // namespace

void FuseGatheredProducts(const Graph& graph, const std::vector<bool>& constant,
                          std::vector<Step>& steps) {
  for (size_t i = 0; i < steps.size(); ++i) {
    const Node& node = graph.nodes()[i];
    const auto& inputs = graph.inputs(int(i));
    const bool product = node.op_type() == "MatMul" && steps[i].kernel != nullptr;
    if (!product || inputs.size() != 2 || inputs[0] == kNoValue || inputs[1] == kNoValue) continue;
    // A matrix that is known is a weight of its own, for which others may be put in.
    if (constant[size_t(inputs[0])] || constant[size_t(inputs[1])]) continue;
    const auto gathered = FindGathered(graph, inputs[1]);
    if (!gathered || !constant[size_t(gathered->stack)] ||
        graph.ScopeOf(gathered->gather) != graph.ScopeOf(int(i))) {
      continue;
    }
    Chain chain = ChainTo(graph, inputs[1], gathered->gather, steps);
    if (chain.empty()) continue;
    steps[i].kernel =
        std::make_unique<GatheredProduct>(gathered->swapped, std::move(chain), CreateKernel(node));
    steps[i].inputs = {inputs[0], gathered->stack, graph.inputs(gathered->gather)[1]};
  }
}

}  // namespace ptq
