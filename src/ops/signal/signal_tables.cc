// Tables of signal processing: ai.onnx HannWindow, HammingWindow, BlackmanWindow, MelWeightMatrix.
#include <array>
#include <cmath>
#include <numbers>

#include "arguments.h"

#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

/// a0 - a1 cos(2πi / n) + a2 cos(4πi / n).
using Coefficients = std::array<double, 3>;

std::unique_ptr<Kernel> MakeWindow(const Node& node, const Coefficients& a) {
  const bool periodic = node.Int("periodic", 1) != 0;
  const auto dtype = static_cast<DType>(node.Int("output_datatype", 1));
  return MakeKernel([=](KernelContext& context) {
    const int64_t size = ScalarInput(context, 0);
    Tensor window(DType::kFloat32, {size});
    const double period = static_cast<double>(periodic ? size : size - 1);
    double i = 0;
    for (float& value : window.mutable_data<float>()) {
      const double phase = 2 * std::numbers::pi * i++ / period;
      value = static_cast<float>(a[0] - a[1] * std::cos(phase) + a[2] * std::cos(2 * phase));
    }
    context.set_output(0, window.Cast(dtype).Widened());
  });
}

double MelOf(double frequency) { return 2595 * std::log10(1 + frequency / 700); }
double FrequencyOf(double mel) { return 700 * (std::pow(10, mel / 2595) - 1); }

/// Triangles that are evenly spaced in mel, as a matrix [spectrogram bins, mel bins].
Tensor MelMatrix(int64_t mel_bins, int64_t dft_length, int64_t sample_rate, double low,
                 double high) {
  if (mel_bins < 1 || dft_length < 1 || sample_rate < 1 || !(low <= high)) {
    throw InputError("MelWeightMatrix: bins, lengths and rates must be positive");
  }
  const int64_t bins = dft_length / 2 + 1;
  const double first = MelOf(low);
  const double step = (MelOf(high) - first) / static_cast<double>(mel_bins + 2);
  const auto bin_of = [&](int64_t i) {
    const double frequency = FrequencyOf(first + step * static_cast<double>(i));
    return static_cast<int64_t>(static_cast<double>(dft_length + 1) * frequency /
                                static_cast<double>(sample_rate));
  };
  Tensor matrix = Tensor::Filled({bins, mel_bins}, 0.0f);
  float* out = matrix.mutable_data<float>().data();
  for (int64_t m = 0; m < mel_bins; ++m) {
    const int64_t lower = bin_of(m), center = bin_of(m + 1), upper = bin_of(m + 2);
    if (lower < 0 || upper > bins) {
      throw InputError("MelWeightMatrix: a frequency is beyond half the sample rate");
    }
    const auto set = [&](int64_t bin, double value) {
      if (bin < bins) out[bin * mel_bins + m] = static_cast<float>(value);
    };
    if (center == lower) set(center, 1);
    for (int64_t j = lower; j <= center && center != lower; ++j) {
      set(j, static_cast<double>(j - lower) / static_cast<double>(center - lower));
    }
    for (int64_t j = center; j < upper; ++j) {
      set(j, static_cast<double>(upper - j) / static_cast<double>(upper - center));
    }
  }
  return matrix;
}

}  // namespace

std::unique_ptr<Kernel> MakeHannWindow(const Node& node) { return MakeWindow(node, {0.5, 0.5, 0}); }

std::unique_ptr<Kernel> MakeHammingWindow(const Node& node) {
  return MakeWindow(node, {25.0 / 46, 21.0 / 46, 0});
}

std::unique_ptr<Kernel> MakeBlackmanWindow(const Node& node) {
  return MakeWindow(node, {0.42, 0.5, 0.08});
}

/// ai.onnx MelWeightMatrix: mel bins, DFT length, sample rate, lower and upper edge in Hz.
std::unique_ptr<Kernel> MakeMelWeightMatrix(const Node& node) {
  const auto dtype = static_cast<DType>(node.Int("output_datatype", 1));
  return MakeKernel([dtype](KernelContext& context) {
    const Tensor matrix =
        MelMatrix(ScalarInput(context, 0), ScalarInput(context, 1), ScalarInput(context, 2),
                  ScalarInputOf<float>(context, 3), ScalarInputOf<float>(context, 4));
    context.set_output(0, matrix.Cast(dtype).Widened());
  });
}

}  // namespace ptq
