// Fourier transforms, local response normalisation and draws against their definitions.
#include <complex>
#include <numbers>

#include "support/kernel_testing.h"

#include "ptq/base/error.h"

namespace ptq::testing {
namespace {

using Complex = std::complex<double>;

/// Σ x[i] exp(∓2π√-1 ik / n), with nothing clever.
std::vector<Complex> NaiveTransform(const std::vector<Complex>& x, bool inverse) {
  const auto n = static_cast<double>(x.size());
  std::vector<Complex> out(x.size());
  for (size_t k = 0; k < x.size(); ++k) {
    for (size_t i = 0; i < x.size(); ++i) {
      const double turns = static_cast<double>(i * k % x.size()) / n;
      const double phase = (inverse ? 2 : -2) * std::numbers::pi * turns;
      out[k] += x[i] * std::polar(inverse ? 1 / n : 1.0, phase);
    }
  }
  return out;
}

std::vector<Complex> ComplexValues(const Tensor& x) {
  std::vector<Complex> values;
  for (size_t i = 0; i < static_cast<size_t>(x.size()); i += 2) {
    values.emplace_back(x.data<float>()[i], x.data<float>()[i + 1]);
  }
  return values;
}

void ExpectNear(const Tensor& actual, const std::vector<Complex>& expected, double tolerance) {
  const auto values = ComplexValues(actual);
  ASSERT_EQ(values.size(), expected.size());
  for (size_t i = 0; i < values.size(); ++i) {
    ASSERT_LT(std::abs(values[i] - expected[i]), tolerance) << "bin " << i;
  }
}

TEST(Dft, AgreesWithTheDefinitionForEveryKindOfLength) {
  std::mt19937 random(1);
  for (const int64_t length : {1, 2, 7, 12, 97, 400}) {  // a prime, a power, Whisper's frame
    const Tensor x = RandomFloats({1, length, 2}, random);
    const double tolerance = 1e-5 * static_cast<double>(length);
    ExpectNear(OpTest("DFT", 20).Run({x}), NaiveTransform(ComplexValues(x), false), tolerance);
    ExpectNear(OpTest("DFT", 17).Int("inverse", 1).Run({x}), NaiveTransform(ComplexValues(x), true),
               tolerance);
  }
}

TEST(Dft, OneSidedInverseGivesTheRealSignalBack) {
  std::mt19937 random(2);
  for (const int64_t length : {6, 9}) {
    const Tensor x = RandomFloats({2, length, 1}, random);
    const Tensor half = OpTest("DFT", 20).Int("onesided", 1).Run({x});
    ASSERT_EQ(half.shape(), (Shape{2, length / 2 + 1, 2}));
    const Tensor back = OpTest("DFT", 20)
                            .Int("onesided", 1)
                            .Int("inverse", 1)
                            .Run({half, Tensor::Scalar<int64_t>(length)});
    ExpectEqual(back, x, 1e-5f);
  }
}

TEST(Dft, RefusesOtherThanOneOrTwoParts) {
  EXPECT_THROW((void)OpTest("DFT", 20).Run({Floats({1, 2, 3}, {1, 2, 3, 4, 5, 6})}), InputError);
  EXPECT_THROW((void)OpTest("STFT", 17).Run({Floats({1, 2, 1}, {1, 2}), Int64s({}, {0})}),
               InputError);
}

TEST(Lrn, SumsAsManyChannelsAsAsked) {
  std::mt19937 random(3);
  const Tensor x = RandomFloats({1, 6, 2}, random);
  for (const int64_t size : {2, 3, 4}) {  // an even number takes one more above than below
    const Tensor y = OpTest("LRN", 13)
                         .Int("size", size)
                         .Float("alpha", 0.5f)
                         .Float("beta", 1.5f)
                         .Float("bias", 2.0f)
                         .Run({x});
    for (int64_t i = 0; i < x.size(); ++i) {
      const int64_t channel = i / 2;
      double sum = 0;
      for (int64_t c = 0; c < 6; ++c) {
        if (c < channel - (size - 1) / 2 || c > channel + size / 2) continue;
        sum += std::pow(x.data<float>()[static_cast<size_t>(c * 2 + i % 2)], 2);
      }
      const double scale = 2.0 + 0.5 / static_cast<double>(size) * sum;
      ASSERT_NEAR(y.data<float>()[static_cast<size_t>(i)],
                  x.data<float>()[static_cast<size_t>(i)] / std::pow(scale, 1.5), 1e-6)
          << "size " << size << " element " << i;
    }
  }
}

double MeanOf(const Tensor& x) {
  double sum = 0;
  for (const float value : x.data<float>()) sum += value;
  return sum / static_cast<double>(x.size());
}

double DeviationOf(const Tensor& x) {
  const double mean = MeanOf(x);
  double sum = 0;
  for (const float value : x.data<float>()) sum += (value - mean) * (value - mean);
  return std::sqrt(sum / static_cast<double>(x.size()));
}

TEST(Random, DrawsHaveTheMomentsThatAreAskedFor) {
  const std::vector<int64_t> shape = {400, 500};
  const Tensor normal =
      OpTest("RandomNormal").Ints("shape", shape).Float("mean", 3).Float("scale", 0.5f).Run({});
  EXPECT_NEAR(MeanOf(normal), 3, 0.01);
  EXPECT_NEAR(DeviationOf(normal), 0.5, 0.01);
  const Tensor uniform =
      OpTest("RandomUniform").Ints("shape", shape).Float("low", -1).Float("high", 3).Run({});
  EXPECT_NEAR(MeanOf(uniform), 1, 0.02);
  EXPECT_NEAR(DeviationOf(uniform), 4 / std::sqrt(12.0), 0.02);
  const auto values = uniform.data<float>();
  EXPECT_GE(*std::ranges::min_element(values), -1);
  EXPECT_LE(*std::ranges::max_element(values), 3);
  EXPECT_NEAR(MeanOf(OpTest("Bernoulli").Run({Tensor::Filled({200, 500}, 0.3f)})), 0.3, 0.01);
}

TEST(Random, RepeatsItselfAndFollowsTheSeed) {
  const Tensor like = Tensor::Filled({4, 5}, 0.0f);
  const Tensor first = OpTest("RandomNormalLike").Float("seed", 1).Run({like});
  ExpectEqual(OpTest("RandomNormalLike").Float("seed", 1).Run({like}), first);
  const Tensor other = OpTest("RandomNormalLike").Float("seed", 2).Run({like});
  EXPECT_NE(Values<float>(other), Values<float>(first));
}

TEST(Multinomial, ChoosesClassesByTheirProbability) {
  const Tensor choices =
      OpTest("Multinomial")
          .Int("sample_size", 20000)
          .Run({Floats({1, 3}, {std::log(0.2f), std::log(0.5f), std::log(0.3f)})});
  std::vector<double> share(3);
  for (const int32_t choice : choices.data<int32_t>()) share[static_cast<size_t>(choice)] += 5e-5;
  EXPECT_NEAR(share[0], 0.2, 0.02);
  EXPECT_NEAR(share[1], 0.5, 0.02);
}

}  // namespace
}  // namespace ptq::testing
