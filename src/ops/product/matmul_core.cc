// Describes operands as stacks of matrices; multiplies floats, small codes exactly, and integers.
#include "matmul_core.h"

#include <algorithm>
#include <string>
#include <vector>

#include "ptq/base/error.h"
#include "ptq/base/parallel.h"
#include "ptq/tensor/gemm.h"

namespace ptq {
namespace {

/// Multiply-adds of one task when many small products are spread over the threads.
constexpr int64_t kTaskWork = 1 << 16;
/// Terms of at most 255 · 255 that a float sums exactly: 256 of them stay below 2^24.
constexpr int64_t kExactTerms = 256;

/// One operand seen as a stack of matrices.
struct StackedOperand {
  Shape batch;       ///< dimensions of the stack
  int64_t rows = 1;  ///< of a stored matrix
  int64_t cols = 1;
  int64_t stride = 1;  ///< elements from one row to the next
  int64_t step = 1;    ///< elements from one matrix to the next
  bool transposed = false;

  [[nodiscard]] int64_t op_rows() const { return transposed ? cols : rows; }
  [[nodiscard]] int64_t op_cols() const { return transposed ? rows : cols; }
  [[nodiscard]] int64_t matrices() const { return NumElements(batch); }
};

StackedOperand Describe(const Shape& shape, bool transpose, bool first_is_row, bool is_left) {
  StackedOperand operand;
  if (shape.empty()) throw InputError("a matrix product needs operands of rank 1 or more");
  if (shape.size() == 1) {
    (is_left ? operand.cols : operand.rows) = shape[0];
    operand.stride = operand.cols;
    operand.step = shape[0];
    return operand;
  }
  const size_t rank = shape.size();
  operand.transposed = transpose;
  operand.cols = shape[rank - 1];
  if (first_is_row && rank > 2) {
    operand.batch.assign(shape.begin() + 1, shape.end() - 1);
    operand.rows = shape[0];
    operand.stride = NumElements(operand.batch) * operand.cols;
    operand.step = operand.cols;
  } else {
    operand.batch.assign(shape.begin(), shape.end() - 2);
    operand.rows = shape[rank - 2];
    operand.stride = operand.cols;
    operand.step = operand.rows * operand.cols;
  }
  return operand;
}

MatrixView ViewOf(const StackedOperand& operand, const float* data, int64_t matrix) {
  // BLAS wants a stride of at least one even for an empty matrix.
  return {data + matrix * operand.step, operand.rows, operand.cols,
          std::max<int64_t>({1, operand.stride, operand.cols}), operand.transposed};
}

/// Number of the matrix of `operand` behind each matrix of the broadcast stack.
Shape MatrixNumbers(const Shape& operand, const Shape& stack) {
  const auto strides = BroadcastStrides(operand, stack);
  Shape numbers(static_cast<size_t>(NumElements(stack)));
  for (size_t i = 0; i < numbers.size(); ++i) {
    auto rest = static_cast<int64_t>(i);
    for (size_t d = stack.size(); d-- > 0;) {
      numbers[i] += rest % stack[d] * strides[d];
      rest /= stack[d];
    }
  }
  return numbers;
}

struct Product {
  StackedOperand a, b;
  Shape stack;
  Shape result;
  int64_t m, k, n;
};

Product Plan(const Tensor& a, const Tensor& b, const MatMulOptions& options) {
  Product product;
  product.a = Describe(a.shape(), options.transpose_a, options.first_is_row_a, true);
  product.b = Describe(b.shape(), options.transpose_b, options.first_is_row_b, false);
  product.m = product.a.op_rows();
  product.k = product.a.op_cols();
  product.n = product.b.op_cols();
  if (product.k != product.b.op_rows()) {
    throw InputError("shapes " + ToString(a.shape()) + " and " + ToString(b.shape()) +
                     " do not fit in a matrix product");
  }
  product.stack = BroadcastShapes(product.a.batch, product.b.batch);
  product.result = product.stack;
  if (a.rank() > 1) product.result.push_back(product.m);
  if (b.rank() > 1) product.result.push_back(product.n);
  return product;
}

/// Whether all matrices of `a` can be stacked into one tall matrix over a single right operand.
bool IsOneProduct(const Product& p) {
  return p.b.matrices() == 1 && !p.a.transposed &&
         (p.a.step == p.a.rows * p.a.stride || p.a.matrices() == 1) &&
         NumElements(p.stack) == p.a.matrices();
}

}  // namespace

Tensor MatMul(const Tensor& a, const Tensor& b, const MatMulOptions& options) {
  const Product p = Plan(a, b, options);
  Tensor out(DType::kFloat32, p.result);
  float* to = out.mutable_data<float>().data();
  if (out.size() == 0) return out;
  if (p.k == 0) {
    std::fill_n(to, out.size(), 0.0f);
    return out;
  }
  const float* x = a.data<float>().data();
  const float* y = b.data<float>().data();
  if (IsOneProduct(p)) {
    StackedOperand tall = p.a;
    tall.rows *= p.a.matrices();
    Gemm(options.alpha, ViewOf(tall, x, 0), ViewOf(p.b, y, 0), 0.0f, to, p.n);
    return out;
  }
  const auto a_numbers = MatrixNumbers(p.a.batch, p.stack);
  const auto b_numbers = MatrixNumbers(p.b.batch, p.stack);
  const auto count = static_cast<int64_t>(a_numbers.size());
  const int64_t grain = std::max<int64_t>(1, kTaskWork / std::max<int64_t>(1, p.m * p.k * p.n));
  ParallelForTiles(count, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Gemm(options.alpha, ViewOf(p.a, x, a_numbers[size_t(i)]),
           ViewOf(p.b, y, b_numbers[size_t(i)]), 0.0f, to + i * p.m * p.n, p.n);
    }
  });
  return out;
}

Tensor ExactMatMul(const Tensor& a, const Tensor& b) {
  const Product p = Plan(a, b, {});
  Tensor out = Tensor::Filled<int32_t>(p.result, 0);
  if (out.size() == 0) return out;
  int32_t* to = out.mutable_data<int32_t>().data();
  const float* x = a.data<float>().data();
  const float* y = b.data<float>().data();
  const bool one = IsOneProduct(p);
  const int64_t m = one ? p.a.rows * p.a.matrices() : p.m;
  const auto a_numbers = one ? Shape{0} : MatrixNumbers(p.a.batch, p.stack);
  const auto b_numbers = one ? Shape{0} : MatrixNumbers(p.b.batch, p.stack);
  std::vector<float> part(static_cast<size_t>(m * p.n));
  for (size_t i = 0; i < a_numbers.size(); ++i) {
    int32_t* sum = to + static_cast<int64_t>(i) * m * p.n;
    for (int64_t k = 0; k < p.k; k += kExactTerms) {
      const int64_t terms = std::min(kExactTerms, p.k - k);
      const MatrixView left{x + a_numbers[i] * p.a.step + k, m, terms, p.k};
      const MatrixView right{y + b_numbers[i] * p.b.step + k * p.n, terms, p.n, p.n};
      Gemm(1.0f, left, right, 0.0f, part.data(), p.n);
      for (size_t j = 0; j < part.size(); ++j) sum[j] += static_cast<int32_t>(part[j]);
    }
  }
  return out;
}

namespace {

template <class T>
void MultiplyIntegers(const Product& p, const T* x, const T* y, T* to) {
  const auto a_numbers = MatrixNumbers(p.a.batch, p.stack);
  const auto b_numbers = MatrixNumbers(p.b.batch, p.stack);
  const int64_t rows = static_cast<int64_t>(a_numbers.size()) * p.m;
  const int64_t grain = std::max<int64_t>(1, kTaskWork / std::max<int64_t>(1, p.k * p.n));
  ParallelForTiles(rows, grain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const auto matrix = static_cast<size_t>(row / p.m);
      const T* left = x + a_numbers[matrix] * p.a.step + (row % p.m) * p.k;
      const T* right = y + b_numbers[matrix] * p.b.step;
      T* result = to + row * p.n;
      for (int64_t k = 0; k < p.k; ++k) {
        for (int64_t n = 0; n < p.n; ++n) result[n] += left[k] * right[k * p.n + n];
      }
    }
  });
}

}  // namespace

template <class T>
Tensor IntegerMatMul(const Tensor& a, const Tensor& b) {
  const Product p = Plan(a, b, {});
  Tensor out = Tensor::Filled<T>(p.result, T{0});
  MultiplyIntegers(p, a.data<T>().data(), b.data<T>().data(), out.mutable_data<T>().data());
  return out;
}

template Tensor IntegerMatMul<int32_t>(const Tensor&, const Tensor&);
template Tensor IntegerMatMul<int64_t>(const Tensor&, const Tensor&);
template Tensor IntegerMatMul<uint32_t>(const Tensor&, const Tensor&);
template Tensor IntegerMatMul<uint64_t>(const Tensor&, const Tensor&);

}  // namespace ptq
