// Sums of products over named dimensions: ai.onnx Einsum, by pairs of operands as matrix products.
#include <algorithm>

#include "array.h"
#include "einsum_equation.h"
#include "matmul_core.h"
#include "strided.h"

namespace ptq {
namespace {

/// A tensor whose dimensions have names, each once.
struct Named {
  Tensor tensor;
  Labels labels;
};

bool Has(const Labels& labels, int label) {
  return std::find(labels.begin(), labels.end(), label) != labels.end();
}

int64_t SizeOf(const Named& x, int label) {
  const auto at = std::find(x.labels.begin(), x.labels.end(), label) - x.labels.begin();
  return x.tensor.dim(at);
}

/// Repeated labels become one: the diagonal.
Named TakeDiagonals(const Tensor& x, const Labels& labels) {
  const auto strides = RowMajorStrides(x.shape());
  StridedView view;
  Named result;
  for (size_t d = 0; d < labels.size(); ++d) {
    const auto known = std::find(result.labels.begin(), result.labels.end(), labels[d]);
    if (known == result.labels.end()) {
      result.labels.push_back(labels[d]);
      view.shape.push_back(x.shape()[d]);
      view.strides.push_back(strides[d]);
      continue;
    }
    const auto at = static_cast<size_t>(known - result.labels.begin());
    if (view.shape[at] != x.shape()[d])
      throw InputError("Einsum: a diagonal needs equal dimensions");
    view.strides[at] += strides[d];
  }
  result.tensor = result.labels.size() == labels.size() ? x : Materialize(x, view);
  return result;
}

/// The dimensions in the order of `labels`, which must be a permutation of the tensor's own.
Tensor Arranged(const Named& x, const Labels& labels) {
  if (x.labels == labels) return x.tensor;
  Shape order;
  for (const int label : labels) {
    order.push_back(std::find(x.labels.begin(), x.labels.end(), label) - x.labels.begin());
  }
  return TransposeAxes(x.tensor, order);
}

int64_t CountOf(const Named& x, const Labels& labels) {
  int64_t count = 1;
  for (const int label : labels) count *= SizeOf(x, label);
  return count;
}

Labels Joined(const Labels& a, const Labels& b, const Labels& c = {}) {
  Labels all = a;
  all.insert(all.end(), b.begin(), b.end());
  all.insert(all.end(), c.begin(), c.end());
  return all;
}

/// Adds up over every label that is not in `needed`.
Named SumUnneeded(const Named& x, const Labels& needed) {
  Labels kept, summed;
  for (const int label : x.labels) (Has(needed, label) ? kept : summed).push_back(label);
  if (summed.empty()) return x;
  const Tensor rows = Arranged(x, Joined(kept, summed));
  const int64_t count = CountOf(x, summed);
  Shape shape;
  for (const int label : kept) shape.push_back(SizeOf(x, label));
  Tensor out(rows.dtype(), shape);
  VisitTypes<float, int32_t, int64_t>(rows.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const T* from = rows.data<T>().data();
    const auto to = out.mutable_data<T>();
    for (size_t r = 0; r < to.size(); ++r) {
      to[r] = ConstArrayMap<T>(from + static_cast<int64_t>(r) * count, count).sum();
    }
  });
  return {out, kept};
}

Tensor Multiplied(const Tensor& x, const Tensor& y) {
  if (x.dtype() != y.dtype()) throw InputError("Einsum: the operands differ in element type");
  if (x.dtype() == DType::kInt32) return IntegerMatMul<int32_t>(x, y);
  if (x.dtype() == DType::kInt64) return IntegerMatMul<int64_t>(x, y);
  return MatMul(x, y);
}

/// Drops the dimensions of one element that `other` has larger: they broadcast.
Named WithoutBroadcast(const Named& x, const Named& other) {
  Named result;
  Shape shape;
  for (const int label : x.labels) {
    if (Has(other.labels, label) && SizeOf(x, label) == 1 && SizeOf(other, label) != 1) continue;
    result.labels.push_back(label);
    shape.push_back(SizeOf(x, label));
  }
  result.tensor = x.tensor.Reshaped(shape);
  return result;
}

/// The product of two operands, with only the labels that are still `needed` afterwards.
Named Contract(Named a, Named b, const Labels& needed) {
  const Named a_plain = WithoutBroadcast(a, b);
  b = WithoutBroadcast(b, a);
  a = SumUnneeded(a_plain, Joined(needed, b.labels));
  b = SumUnneeded(b, Joined(needed, a.labels));
  Labels batch, folded, left, right;
  Shape shape, right_shape;
  for (const int label : a.labels) {
    if (!Has(b.labels, label)) {
      left.push_back(label);
      continue;
    }
    if (SizeOf(a, label) != SizeOf(b, label)) {
      throw InputError("Einsum: dimensions of one label differ");
    }
    (Has(needed, label) ? batch : folded).push_back(label);
  }
  for (const int label : b.labels) {
    if (!Has(a.labels, label)) right.push_back(label);
  }
  for (const int label : Joined(batch, left)) shape.push_back(SizeOf(a, label));
  for (const int label : right) shape.push_back(SizeOf(b, label));
  const int64_t batches = CountOf(a, batch);
  const int64_t terms = CountOf(a, folded);
  const Tensor x =
      Arranged(a, Joined(batch, left, folded)).Reshaped({batches, CountOf(a, left), terms});
  const Tensor y =
      Arranged(b, Joined(batch, folded, right)).Reshaped({batches, terms, CountOf(b, right)});
  return {Multiplied(x, y).Reshaped(shape), Joined(batch, left, right)};
}

void RunEinsum(KernelContext& context, const std::string& text) {
  Shape ranks;
  for (size_t i = 0; i < context.input_count(); ++i) ranks.push_back(context.input(i).rank());
  const EinsumEquation equation = ParseEinsum(text, ranks);
  Named value = TakeDiagonals(context.input(0), equation.operands[0]);
  for (size_t i = 1; i < equation.operands.size(); ++i) {
    Labels needed = equation.result;
    for (size_t j = i + 1; j < equation.operands.size(); ++j) {
      needed = Joined(needed, equation.operands[j]);
    }
    value = Contract(value, TakeDiagonals(context.input(i), equation.operands[i]), needed);
  }
  value = SumUnneeded(value, equation.result);
  for (const int label : equation.result) {
    if (!Has(value.labels, label)) throw InputError("Einsum: a result label is in no operand");
  }
  context.set_output(0, Arranged(value, equation.result));
}

}  // namespace

std::unique_ptr<Kernel> MakeEinsum(const Node& node) {
  const std::string equation = node.String("equation", "");
  return MakeKernel([equation](KernelContext& context) { RunEinsum(context, equation); });
}

}  // namespace ptq
