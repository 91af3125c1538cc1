// Discrete Fourier transforms: ai.onnx DFT, STFT.
#include <algorithm>
#include <complex>
#include <unsupported/Eigen/FFT>
#include <vector>

#include "arguments.h"
#include "array.h"

#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

using Complex = std::complex<double>;

enum class Direction { kForward, kInverse };

/// Complex numbers [.., 2], or real ones [.., 1] or [..], in memory.
struct Signal {
  const float* data;
  bool complex;
  [[nodiscard]] Complex At(int64_t i) const {
    return complex ? Complex(data[2 * i], data[2 * i + 1]) : Complex(data[i], 0);
  }
};

/// The transform of `in`, 1 / n of the sum when inverse.
std::vector<Complex> Transform(std::vector<Complex>& in, Direction direction) {
  // The library has no plan for a single element, which is its own transform.
  if (in.size() < 2) return in;
  std::vector<Complex> out(in.size());
  Eigen::FFT<double> fft;
  const auto count = static_cast<Eigen::Index>(in.size());
  if (direction == Direction::kForward) {
    fft.fwd(out.data(), in.data(), count);
  } else {
    fft.inv(out.data(), in.data(), count);
  }
  return out;
}

/// Bins that are kept: of a real signal the second half mirrors the first.
int64_t BinCount(int64_t length, bool one_sided) { return one_sided ? length / 2 + 1 : length; }

struct DftOptions {
  Direction direction;
  bool one_sided;
};

/// The full spectrum of a real signal from its first half.
void Mirror(std::vector<Complex>& half, int64_t length) {
  half.resize(static_cast<size_t>(length));
  for (int64_t i = length / 2 + 1; i < length; ++i) {
    half[static_cast<size_t>(i)] = std::conj(half[static_cast<size_t>(length - i)]);
  }
}

void Dft(KernelContext& context, int64_t axis, const DftOptions& options) {
  const Tensor& x = context.input(0);
  if (x.rank() < 2 || (x.dim(-1) != 1 && x.dim(-1) != 2)) {
    throw InputError("DFT: the last dimension of " + ToString(x.shape()) +
                     " must hold a real, or a real and an imaginary part");
  }
  axis = NormalizeAxis(axis, x.rank());
  if (axis == x.rank() - 1) throw InputError("DFT: the axis must not be that of the parts");
  const bool to_real = options.direction == Direction::kInverse && options.one_sided;
  int64_t length = to_real ? 2 * (x.dim(axis) - 1) : x.dim(axis);
  if (context.has_input(1)) length = ScalarInput(context, 1);
  if (length < 1) throw InputError("DFT of " + std::to_string(length) + " elements");
  const int64_t given = x.dim(axis);
  const int64_t bins = to_real ? length : BinCount(length, options.one_sided);
  Shape shape = x.shape();
  shape[static_cast<size_t>(axis)] = bins;
  shape.back() = to_real ? 1 : 2;
  Tensor out(DType::kFloat32, shape);
  const int64_t inner = NumElements(shape, axis + 1, x.rank() - 1);
  const int64_t rows = NumElements(shape, 0, axis) * inner;
  const Signal signal{x.data<float>().data(), x.dim(-1) == 2};
  const int64_t used = std::min(given, to_real ? BinCount(length, true) : length);
  float* to = out.mutable_data<float>().data();
  ParallelForTiles(
      rows, std::max<int64_t>(1, kElementTile / (16 * length)), [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; ++r) {
          std::vector<Complex> row(static_cast<size_t>(length));
          for (int64_t i = 0; i < used; ++i) {
            row[static_cast<size_t>(i)] = signal.At((r / inner * given + i) * inner + r % inner);
          }
          if (to_real) Mirror(row, length);
          const auto result = Transform(row, options.direction);
          for (int64_t i = 0; i < bins; ++i) {
            const int64_t at = (r / inner * bins + i) * inner + r % inner;
            const Complex value = result[static_cast<size_t>(i)];
            to[to_real ? at : 2 * at] = static_cast<float>(value.real());
            if (!to_real) to[2 * at + 1] = static_cast<float>(value.imag());
          }
        }
      });
  context.set_output(0, std::move(out));
}

/// Weights of a frame's elements: all 1 without a window.
std::vector<float> WindowOf(const KernelContext& context, int64_t length) {
  if (!context.has_input(2)) return std::vector<float>(static_cast<size_t>(length), 1.0f);
  const auto given = context.input(2).data<float>();
  if (static_cast<int64_t>(given.size()) != length) {
    throw InputError("STFT: a window of " + std::to_string(given.size()) +
                     " elements for frames of " + std::to_string(length));
  }
  return {given.begin(), given.end()};
}

void ShortTimeTransform(KernelContext& context, bool one_sided) {
  const Tensor& x = context.input(0);
  if (x.rank() < 2 || x.rank() > 3 || (x.rank() == 3 && x.dim(2) > 2)) {
    throw InputError("STFT of shape " + ToString(x.shape()) + ", expected [batch, length, 1 or 2]");
  }
  const int64_t step = ScalarInput(context, 1);
  const int64_t samples = x.dim(1);
  int64_t length = context.has_input(2) ? context.input(2).size() : samples;
  if (context.has_input(3)) length = ScalarInput(context, 3);
  if (step < 1 || length < 1 || length > samples) {
    throw InputError("STFT: frames of " + std::to_string(length) + " every " +
                     std::to_string(step) + " of " + std::to_string(samples) + " elements");
  }
  const std::vector<float> window = WindowOf(context, length);
  const int64_t frames = (samples - length) / step + 1;
  const int64_t bins = BinCount(length, one_sided);
  Tensor out(DType::kFloat32, {x.dim(0), frames, bins, 2});
  const Signal signal{x.data<float>().data(), x.rank() == 3 && x.dim(2) == 2};
  float* to = out.mutable_data<float>().data();
  ParallelForTiles(x.dim(0) * frames, std::max<int64_t>(1, kElementTile / (16 * length)),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t f = begin; f < end; ++f) {
                       const int64_t first = f / frames * samples + f % frames * step;
                       std::vector<Complex> row(static_cast<size_t>(length));
                       for (int64_t i = 0; i < length; ++i) {
                         row[static_cast<size_t>(i)] =
                             signal.At(first + i) * double{window[static_cast<size_t>(i)]};
                       }
                       const auto result = Transform(row, Direction::kForward);
                       for (int64_t i = 0; i < bins; ++i) {
                         const Complex value = result[static_cast<size_t>(i)];
                         to[2 * (f * bins + i)] = static_cast<float>(value.real());
                         to[2 * (f * bins + i) + 1] = static_cast<float>(value.imag());
                       }
                     }
                   });
  context.set_output(0, std::move(out));
}

}  // namespace

/// ai.onnx DFT: the axis by attribute before opset 20, by input since.
std::unique_ptr<Kernel> MakeDft(const Node& node) {
  const int64_t attribute = node.Int("axis", node.opset() < 20 ? 1 : -2);
  const DftOptions options{node.Int("inverse", 0) != 0 ? Direction::kInverse : Direction::kForward,
                           node.Int("onesided", 0) != 0};
  return MakeKernel([attribute, options](KernelContext& context) {
    Dft(context, context.has_input(2) ? ScalarInput(context, 2) : attribute, options);
  });
}

/// ai.onnx STFT: signal, frame step, window?, frame length? -> [batch, frames, bins, 2].
std::unique_ptr<Kernel> MakeStft(const Node& node) {
  const bool one_sided = node.Int("onesided", 1) != 0;
  return MakeKernel(
      [one_sided](KernelContext& context) { ShortTimeTransform(context, one_sided); });
}

}  // namespace ptq
