// The QLinear… operators of com.microsoft: an operator of ai.onnx between dequantized operands and
// a quantized result.
#include <string>
#include <vector>

#include "arguments.h"
#include "makers.h"
#include "spatial/channels_last.h"

namespace ptq {
namespace {

/// The steps around a float operator. A value is three inputs in a row: codes, scale, zero point?.
class Quantized {
 public:
  Quantized(const Node& node, std::unique_ptr<Kernel> kernel)
      : kernel_(std::move(kernel)),
        dequantize_(MakeDequantizeLinear(node)),
        quantize_(MakeQuantizeLinear(node)) {}

  [[nodiscard]] Tensor Read(const KernelContext& context, size_t codes) const {
    if (context.input(codes + 1).size() != 1) {
      throw UnsupportedError("only one scale for all of an operand is supported");
    }
    return RunKernel(*dequantize_, {context.input(codes), context.input(codes + 1),
                                    OptionalInput(context, codes + 2)});
  }

  /// Runs the operator on `operands`; the result's scale and zero point are inputs `scale` and
  /// the next one, its type is `dtype` when there is no zero point.
  void Run(KernelContext& context, std::vector<Tensor> operands, size_t scale, DType dtype) const {
    const Tensor y = RunKernel(*kernel_, std::move(operands));
    const Tensor zero = context.has_input(scale + 1) ? context.input(scale + 1)
                                                     : Tensor::Scalar<int32_t>(0).Cast(dtype);
    context.set_output(0, RunKernel(*quantize_, {y, context.input(scale), zero}));
  }

 private:
  std::shared_ptr<const Kernel> kernel_, dequantize_, quantize_;
};

/// Operands at inputs 0, 3 …, the result's scale after the last.
std::unique_ptr<Kernel> MakeQuantized(const Node& node, std::unique_ptr<Kernel> kernel,
                                      size_t operands) {
  return MakeKernel(
      [operands, quantized = Quantized(node, std::move(kernel))](KernelContext& context) {
        std::vector<Tensor> read;
        for (size_t i = 0; i < operands; ++i) read.push_back(quantized.Read(context, 3 * i));
        quantized.Run(context, std::move(read), 3 * operands, context.input(0).dtype());
      });
}

/// `kernel` over [N, …, C] when the node says so.
std::unique_ptr<Kernel> InLayout(const Node& node, std::unique_ptr<Kernel> kernel) {
  if (node.Int("channels_last", 0) == 0) return kernel;
  const std::shared_ptr<const Kernel> shared = std::move(kernel);
  return MakeKernel([shared](KernelContext& context) {
    context.set_output(0, ChannelsLast(RunKernel(*shared, {ChannelsFirst(context.input(0))})));
  });
}

}  // namespace

std::unique_ptr<Kernel> MakeQLinearAdd(const Node& node) {
  return MakeQuantized(node, MakeAdd(node), 2);
}

std::unique_ptr<Kernel> MakeQLinearMul(const Node& node) {
  return MakeQuantized(node, MakeMul(node), 2);
}

std::unique_ptr<Kernel> MakeQLinearSigmoid(const Node& node) {
  return MakeQuantized(node, MakeSigmoid(node), 1);
}

std::unique_ptr<Kernel> MakeQLinearLeakyRelu(const Node& node) {
  return MakeQuantized(node, MakeLeakyRelu(node), 1);
}

std::unique_ptr<Kernel> MakeQLinearSoftmax(const Node& node) {
  // The axis means what it does in Softmax of the named version of ai.onnx.
  return MakeQuantized(node, MakeSoftmax(Node(node.proto(), node.Int("opset", 13))), 1);
}

std::unique_ptr<Kernel> MakeQLinearAveragePool(const Node& node) {
  return MakeQuantized(node, InLayout(node, MakeAveragePool(node)), 1);
}

std::unique_ptr<Kernel> MakeQLinearGlobalAveragePool(const Node& node) {
  return MakeQuantized(node, InLayout(node, MakeGlobalAveragePool(node)), 1);
}

/// com.microsoft QLinearConcat: the result's scale and zero point, then the operands.
std::unique_ptr<Kernel> MakeQLinearConcat(const Node& node) {
  return MakeKernel([quantized = Quantized(node, MakeConcat(node))](KernelContext& context) {
    std::vector<Tensor> operands;
    for (size_t i = 2; i < context.input_count(); i += 3) {
      operands.push_back(quantized.Read(context, i));
    }
    quantized.Run(context, std::move(operands), 0, context.input(2).dtype());
  });
}

/// com.microsoft QLinearWhere: the condition, then two operands.
std::unique_ptr<Kernel> MakeQLinearWhere(const Node& node) {
  return MakeKernel([quantized = Quantized(node, MakeWhere(node))](KernelContext& context) {
    quantized.Run(context,
                  {context.input(0), quantized.Read(context, 1), quantized.Read(context, 4)}, 7,
                  context.input(1).dtype());
  });
}

}  // namespace ptq
