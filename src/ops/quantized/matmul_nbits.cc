// com.microsoft MatMulNBits: a product with weights of 2, 4 or 8 bits, quantized in blocks.
#include <vector>

#include "array.h"

#include "ptq/ops/kernel.h"
#include "ptq/tensor/block_rounding.h"
#include "ptq/tensor/gemm.h"
#include "ptq/tensor/packed_integers.h"

namespace ptq {
namespace {

/// Rows of the weight that one task dequantizes and multiplies.
constexpr int64_t kNBitsRowTile = 256;

struct NBitsAttributes {
  int64_t k;
  int64_t n;
  int bits;
  int64_t block;
  int64_t level;
  [[nodiscard]] int64_t blocks() const { return (k + block - 1) / block; }
};

/// The weight W[N, K] as it is stored, with the checks of its shapes done.
class PackedWeight {
 public:
  PackedWeight(const KernelContext& context, const NBitsAttributes& attributes)
      : a_(attributes),
        codes_(reinterpret_cast<const uint8_t*>(context.input(1).bytes().data())),
        scales_(context.input(2).data<float>().data()),
        blob_(a_.block * a_.bits / 8),
        zero_row_((a_.blocks() * a_.bits + 7) / 8) {
    if (context.input(1).dtype() != DType::kUint8) {
      throw InputError("MatMulNBits: B is " + std::string(DTypeName(context.input(1).dtype())) +
                       ", expected uint8");
    }
    Expect(context.input(1).size(), a_.n * a_.blocks() * blob_, "B");
    Expect(context.input(2).size(), a_.n * a_.blocks(), "scales");
    if (context.has_input(3)) {
      const Tensor& zeros = context.input(3);
      if (zeros.dtype() == DType::kFloat32) {
        Expect(zeros.size(), a_.n * a_.blocks(), "zero_points");
        float_zeros_ = zeros.data<float>().data();
      } else if (zeros.dtype() != DType::kUint8) {
        throw InputError("MatMulNBits: zero_points must be uint8 or the type of A");
      } else {
        Expect(zeros.size(), a_.n * zero_row_, "zero_points");
        packed_zeros_ = zeros.data<uint8_t>().data();
      }
    }
    if (context.has_input(4)) {
      groups_ = context.input(4).ToInt64s();
      if (static_cast<int64_t>(groups_.size()) < a_.k) {
        throw InputError("MatMulNBits: g_idx has fewer than K entries");
      }
      for (const int64_t group : groups_) {
        if (group < 0 || group >= a_.blocks()) {
          throw InputError("MatMulNBits: g_idx names group " + std::to_string(group) + " of " +
                           std::to_string(a_.blocks()));
        }
      }
    }
  }

  /// Whether the runtime's kernel for these codes rounds activations when it is asked to.
  [[nodiscard]] bool RoundsActivations() const {
    return a_.level == kRoundedLevel && float_zeros_ == nullptr && groups_.empty() &&
           RoundsInBlocks(a_.bits, a_.block);
  }

  /// Row n of W in out[0, K).
  void Row(int64_t n, std::vector<float>& scratch, float* out) const {
    const float* scales = scales_ + n * a_.blocks();
    if (!groups_.empty()) return GroupedRow(n, scratch, out);
    for (int64_t b = 0; b < a_.blocks(); ++b) {
      const int64_t count = std::min(a_.block, a_.k - b * a_.block);
      DequantizeCodes(codes_ + (n * a_.blocks() + b) * blob_, a_.bits, count, scales[b],
                      ZeroPoint(n, b), out + b * a_.block);
    }
  }

 private:
  static void Expect(int64_t actual, int64_t expected, const char* what) {
    if (actual != expected) {
      throw InputError("MatMulNBits: " + std::string(what) + " has " + std::to_string(actual) +
                       " elements, N, K, bits and block_size ask for " + std::to_string(expected));
    }
  }

  [[nodiscard]] float ZeroPoint(int64_t n, int64_t b) const {
    if (float_zeros_ != nullptr) return float_zeros_[n * a_.blocks() + b];
    if (packed_zeros_ == nullptr) return static_cast<float>(1 << (a_.bits - 1));
    uint8_t code = 0;
    UnpackBits(packed_zeros_ + n * zero_row_, a_.bits, b, 1, &code);
    return static_cast<float>(code);
  }

  /// Every column has the group that g_idx names.
  void GroupedRow(int64_t n, std::vector<float>& scratch, float* out) const {
    scratch.resize(static_cast<size_t>(a_.blocks() * a_.block));
    for (int64_t b = 0; b < a_.blocks(); ++b) {
      DequantizeCodes(codes_ + (n * a_.blocks() + b) * blob_, a_.bits, a_.block, 1.0f, 0.0f,
                      scratch.data() + b * a_.block);
    }
    for (int64_t k = 0; k < a_.k; ++k) {
      const int64_t group = groups_[static_cast<size_t>(k)];
      out[k] = (scratch[static_cast<size_t>(k)] - ZeroPoint(n, group)) *
               scales_[n * a_.blocks() + group];
    }
  }

  const NBitsAttributes a_;
  const uint8_t* codes_;
  const float* scales_;
  const float* float_zeros_ = nullptr;
  const uint8_t* packed_zeros_ = nullptr;
  Shape groups_;
  const int64_t blob_;      ///< bytes of one block
  const int64_t zero_row_;  ///< bytes of one row of packed zero points
};

void RunNBits(KernelContext& context, const NBitsAttributes& attributes) {
  const Tensor& a = context.input(0);
  if (a.rank() == 0 || a.dim(-1) != attributes.k) {
    throw InputError("MatMulNBits: A has shape " + ToString(a.shape()) +
                     ", its last dimension must be " + std::to_string(attributes.k));
  }
  const PackedWeight weight(context, attributes);
  const float* bias = nullptr;
  if (context.has_input(5)) {
    if (context.input(5).size() != attributes.n) throw InputError("MatMulNBits: bias is not [N]");
    bias = context.input(5).data<float>().data();
  }
  Shape shape = a.shape();
  shape.back() = attributes.n;
  const int64_t rows = NumElements(shape, 0, static_cast<int64_t>(shape.size()) - 1);
  Tensor y(DType::kFloat32, shape);
  const float* x = a.data<float>().data();
  std::vector<float> rounded;
  if (weight.RoundsActivations()) {
    rounded.assign(x, x + rows * attributes.k);
    RoundBlocks(rounded, attributes.k, attributes.block);
    x = rounded.data();
  }
  float* out = y.mutable_data<float>().data();
  if (rows > 0) {
    ParallelForTiles(attributes.n, kNBitsRowTile, [&](int64_t begin, int64_t end) {
      std::vector<float> tile(static_cast<size_t>((end - begin) * attributes.k));
      std::vector<float> scratch;
      for (int64_t n = begin; n < end; ++n) {
        weight.Row(n, scratch, tile.data() + (n - begin) * attributes.k);
        if (bias != nullptr) {
          for (int64_t row = 0; row < rows; ++row) out[row * attributes.n + n] = bias[n];
        }
      }
      Gemm(1.0f, {x, rows, attributes.k, attributes.k},
           {tile.data(), end - begin, attributes.k, attributes.k, true},
           bias != nullptr ? 1.0f : 0.0f, out + begin, attributes.n);
    });
  }
  context.set_output(0, std::move(y));
}

}  // namespace

/// com.microsoft MatMulNBits: A[…, K], B, scales, zero points?, g_idx?, bias? -> Y[…, N].
/// W = (code - zero point) · scale. At accuracy level 4 the activations are rounded as the kernels
/// of ONNX Runtime round them; the rest is computed in float32.
std::unique_ptr<Kernel> MakeMatMulNBits(const Node& node) {
  const NBitsAttributes attributes{node.RequiredInt("K"), node.RequiredInt("N"),
                                   static_cast<int>(node.Int("bits", 4)),
                                   node.RequiredInt("block_size"), node.Int("accuracy_level", 0)};
  if (attributes.bits != 2 && attributes.bits != 4 && attributes.bits != 8) {
    throw UnsupportedError("node '" + node.name() + "': MatMulNBits with " +
                           std::to_string(attributes.bits) + " bits; 2, 4 and 8 are supported");
  }
  if (attributes.k <= 0 || attributes.n <= 0 || attributes.block < 8 || attributes.k > INT32_MAX ||
      attributes.n > INT32_MAX || attributes.block > INT32_MAX) {
    throw InputError("node '" + node.name() +
                     "': K, N and block_size must be positive and block_size at least 8");
  }
  if (node.Int("weight_prepacked", 0) != 0) {
    throw UnsupportedError("node '" + node.name() +
                           "': weight_prepacked layouts are made for one GPU and not supported");
  }
  return MakeKernel([attributes](KernelContext& context) { RunNBits(context, attributes); });
}

}  // namespace ptq
