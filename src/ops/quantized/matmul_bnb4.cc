// com.microsoft MatMulBnb4: a product with weights in the 4-bit float formats of bitsandbytes.
#include <span>
#include <vector>

#include "array.h"

#include "ptq/ops/kernel.h"
#include "ptq/tensor/gemm.h"
#include "ptq/tensor/packed_integers.h"

namespace ptq {
namespace {

constexpr int64_t kBnb4RowTile = 256;

struct Bnb4Attributes {
  int64_t k;
  int64_t n;
  int64_t block;
  bool transposed;  ///< Y = A · Wᵀ, else Y = A · W, for W[N, K]
  std::span<const float, 16> codebook;
};

void RunBnb4(KernelContext& context, const Bnb4Attributes& a) {
  const Tensor& x = context.input(0);
  if (context.input(1).dtype() != DType::kUint8) throw InputError("MatMulBnb4: B must be uint8");
  const auto packed = context.input(1).data<uint8_t>();
  const auto largest = context.input(2).data<float>();
  const int64_t inner = a.transposed ? a.k : a.n;
  if (x.rank() == 0 || x.dim(-1) != inner ||
      static_cast<int64_t>(packed.size()) < (a.n * a.k + 1) / 2 ||
      static_cast<int64_t>(largest.size()) < (a.n * a.k + a.block - 1) / a.block) {
    throw InputError("MatMulBnb4: the inputs do not fit K = " + std::to_string(a.k) +
                     " and N = " + std::to_string(a.n));
  }
  Shape shape = x.shape();
  shape.back() = a.transposed ? a.n : a.k;
  Tensor out(DType::kFloat32, shape);
  const int64_t rows = x.size() / std::max<int64_t>(1, inner);
  const float* const from = x.data<float>().data();
  float* const to = out.mutable_data<float>().data();
  const auto widen = [&](int64_t begin, int64_t end, float* weight) {
    for (int64_t i = begin; i < end; ++i) {
      // The first of two elements sits in the high half of the byte.
      const int code = (packed[static_cast<size_t>(i / 2)] >> (i % 2 == 0 ? 4 : 0)) & 15;
      weight[i - begin] =
          a.codebook[static_cast<size_t>(code)] * largest[static_cast<size_t>(i / a.block)];
    }
  };
  if (a.transposed) {  // a tile of W at a time
    ParallelForTiles(rows > 0 ? a.n : 0, kBnb4RowTile, [&](int64_t begin, int64_t end) {
      std::vector<float> tile(static_cast<size_t>((end - begin) * a.k));
      widen(begin * a.k, end * a.k, tile.data());
      Gemm(1.0f, {from, rows, inner, inner}, {tile.data(), end - begin, a.k, a.k, true}, 0.0f,
           to + begin, a.n);
    });
  } else {
    std::vector<float> weight(static_cast<size_t>(a.n * a.k));
    ParallelForTiles(a.n * a.k, kBnb4RowTile * a.k,
                     [&](int64_t begin, int64_t end) { widen(begin, end, weight.data() + begin); });
    Gemm(1.0f, {from, rows, inner, inner}, {weight.data(), a.n, a.k, a.k, false}, 0.0f, to, a.k);
  }
  context.set_output(0, std::move(out));
}

}  // namespace

/// com.microsoft MatMulBnb4: A, B (packed), absmax -> Y.
std::unique_ptr<Kernel> MakeMatMulBnb4(const Node& node) {
  const int64_t type = node.Int("quant_type", 1);
  if (type != 0 && type != 1) {
    throw UnsupportedError("node '" + node.name() + "': quant_type " + std::to_string(type) +
                           " is not supported; 0 is FP4, 1 is NF4");
  }
  const Bnb4Attributes attributes{node.RequiredInt("K"), node.RequiredInt("N"),
                                  node.RequiredInt("block_size"), node.Int("transB", 1) != 0,
                                  FloatCodebook(static_cast<int>(type))};
  if (attributes.k <= 0 || attributes.n <= 0 || attributes.block <= 0 || attributes.k > INT32_MAX ||
      attributes.n > INT32_MAX || attributes.block > INT32_MAX) {
    throw InputError("node '" + node.name() + "': K, N and block_size must be positive");
  }
  return MakeKernel([attributes](KernelContext& context) { RunBnb4(context, attributes); });
}

}  // namespace ptq
