// Operators that write updates where indices point.
#include <algorithm>
#include <cstring>
#include <string>

#include "array.h"
#include "indices.h"
#include "strided.h"

#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

enum class ScatterReduction { kNone, kAdd, kMul, kMin, kMax };

ScatterReduction ParseReduction(const Node& node) {
  const std::string name = node.String("reduction", "none");
  if (name == "none") return ScatterReduction::kNone;
  if (name == "add") return ScatterReduction::kAdd;
  if (name == "mul") return ScatterReduction::kMul;
  if (name == "min") return ScatterReduction::kMin;
  if (name == "max") return ScatterReduction::kMax;
  throw UnsupportedError(node.op_type() + " with reduction '" + name + "'");
}

template <class T>
T Combine(ScatterReduction reduction, T old, T update) {
  switch (reduction) {
    case ScatterReduction::kAdd:
      if constexpr (std::is_same_v<T, bool>)
        return old || update;
      else
        return static_cast<T>(old + update);
    case ScatterReduction::kMul:
      if constexpr (std::is_same_v<T, bool>)
        return old && update;
      else
        return static_cast<T>(old * update);
    case ScatterReduction::kMin: return std::min(old, update);
    case ScatterReduction::kMax: return std::max(old, update);
    case ScatterReduction::kNone: break;
  }
  return update;
}

/// Block i of `updates` goes to element offsets[i] of `data`, in order: repeated places are well
/// defined.
void WriteBlocks(Tensor& data, const Tensor& updates, const Shape& offsets, int64_t block,
                 ScatterReduction reduction) {
  if (updates.size() == 0) return;
  if (reduction == ScatterReduction::kNone) {
    const auto width = static_cast<int64_t>(ElementBytes(data.dtype()));
    std::byte* to = data.mutable_bytes().data();
    const std::byte* from = updates.bytes().data();
    for (size_t i = 0; i < offsets.size(); ++i, from += block * width) {
      std::memcpy(to + offsets[i] * width, from, static_cast<size_t>(block * width));
    }
    return;
  }
  VisitTypes<float, int64_t, int32_t, uint8_t, int8_t, uint16_t, int16_t, uint32_t, uint64_t, bool>(
      data.dtype(), [&](auto zero) {
        using T = decltype(zero);
        T* to = data.mutable_data<T>().data();
        const T* from = updates.data<T>().data();
        for (const int64_t offset : offsets) {
          for (int64_t j = 0; j < block; ++j, ++from) {
            to[offset + j] = Combine(reduction, to[offset + j], *from);
          }
        }
      });
}

void CheckSameType(const Tensor& data, const Tensor& updates) {
  if (data.dtype() != updates.dtype()) {
    throw InputError("data and updates have different element types");
  }
}

void ScatterNd(KernelContext& context, ScatterReduction reduction) {
  const Tensor& indices = context.input(1);
  const Tensor& updates = context.input(2);
  Tensor data = context.TakeInput(0);
  CheckSameType(data, updates);
  if (indices.rank() < 1 || indices.dim(-1) > data.rank()) {
    throw InputError("ScatterND: indices of shape " + ToString(indices.shape()) +
                     " do not fit data of shape " + ToString(data.shape()));
  }
  Shape expected(indices.shape().begin(), indices.shape().end() - 1);
  expected.insert(expected.end(), data.shape().begin() + indices.dim(-1), data.shape().end());
  if (updates.shape() != expected) {
    throw InputError("ScatterND: updates of shape " + ToString(updates.shape()) + " instead of " +
                     ToString(expected));
  }
  if (updates.size() > 0) {
    WriteBlocks(data, updates, TupleOffsets(indices, data.shape(), 0),
                NumElements(data.shape(), indices.dim(-1), data.rank()), reduction);
  }
  context.set_output(0, std::move(data));
}

void ScatterElements(KernelContext& context, int64_t axis, ScatterReduction reduction) {
  const Tensor& indices = context.input(1);
  const Tensor& updates = context.input(2);
  Tensor data = context.TakeInput(0);
  CheckSameType(data, updates);
  axis = NormalizeAxis(axis, data.rank());
  if (indices.rank() != data.rank() || updates.shape() != indices.shape()) {
    throw InputError("ScatterElements: data " + ToString(data.shape()) + ", indices " +
                     ToString(indices.shape()) + " and updates " + ToString(updates.shape()) +
                     " do not fit");
  }
  if (updates.size() > 0) {
    WriteBlocks(data, updates, ElementOffsets(indices, data.shape(), axis), 1, reduction);
  }
  context.set_output(0, std::move(data));
}

}  // namespace

/// ai.onnx ScatterND; reductions since opset 16 (add, mul) and 18 (min, max).
std::unique_ptr<Kernel> MakeScatterNd(const Node& node) {
  return MakeKernel([reduction = ParseReduction(node)](KernelContext& context) {
    ScatterNd(context, reduction);
  });
}

/// ai.onnx ScatterElements, and Scatter, its name before opset 11.
std::unique_ptr<Kernel> MakeScatterElements(const Node& node) {
  return MakeKernel([axis = node.Int("axis", 0), reduction = ParseReduction(node)](
                        KernelContext& context) { ScatterElements(context, axis, reduction); });
}

}  // namespace ptq
