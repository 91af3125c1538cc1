// Broadcasting by the coordinates of each element, and functions against the C++ library.
#include <cmath>
#include <limits>

#include "support/kernel_testing.h"

#include "ptq/base/error.h"

namespace ptq::testing {
namespace {

/// A shape of up to four dimensions of 1 to 5, and one that broadcasts with it.
std::pair<Shape, Shape> RandomBroadcastPair(std::mt19937& random) {
  const auto pick = [&](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  Shape full(static_cast<size_t>(pick(0, 4)));
  for (int64_t& dim : full) dim = pick(1, 5);
  Shape a = full;
  Shape b(full.begin() + pick(0, static_cast<int>(full.size())), full.end());
  for (int64_t& dim : a) dim = pick(0, 3) == 0 ? 1 : dim;
  for (int64_t& dim : b) dim = pick(0, 3) == 0 ? 1 : dim;
  if (pick(0, 1) == 1) std::swap(a, b);
  return {a, b};
}

/// Element `flat` of the broadcast result, found by its coordinates: the definition itself.
float At(const Tensor& x, const Shape& shape, int64_t flat) {
  const auto strides = BroadcastStrides(x.shape(), shape);
  int64_t at = 0;
  for (size_t d = shape.size(); d-- > 0; flat /= shape[d]) at += flat % shape[d] * strides[d];
  return x.data<float>()[static_cast<size_t>(at)];
}

TEST(Broadcasting, AgreesWithTheDefinitionForRandomShapes) {
  for (uint32_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const auto [a_shape, b_shape] = RandomBroadcastPair(random);
    const Tensor a = RandomFloats(a_shape, random);
    const Tensor b = RandomFloats(b_shape, random);
    const Tensor y = OpTest("Sub").Run({a, b});
    ASSERT_EQ(y.shape(), BroadcastShapes(a_shape, b_shape));
    for (int64_t i = 0; i < y.size(); ++i) {
      ASSERT_EQ(y.data<float>()[static_cast<size_t>(i)], At(a, y.shape(), i) - At(b, y.shape(), i));
    }
  }
}

TEST(Broadcasting, CutsLongRowsIntoTilesWithoutChangingAnything) {
  std::mt19937 random(5);
  const Tensor a = RandomFloats({3, 1, 50000}, random);
  const Tensor b = RandomFloats({2, 1}, random);
  const Tensor y = OpTest("Mul").Run({a, b});
  ASSERT_EQ(y.shape(), (Shape{3, 2, 50000}));
  for (int64_t i = 0; i < y.size(); i += 17) {
    ASSERT_EQ(y.data<float>()[static_cast<size_t>(i)], At(a, y.shape(), i) * At(b, y.shape(), i));
  }
}

TEST(Broadcasting, KeepsZeroSizedDimensions) {
  const Tensor a(DType::kFloat32, {2, 0, 4});
  EXPECT_EQ(OpTest("Add").Run({a, Floats({1, 4}, {1, 2, 3, 4})}).shape(), (Shape{2, 0, 4}));
  EXPECT_EQ(OpTest("Add").Run({a, Floats({}, {1})}).shape(), (Shape{2, 0, 4}));
}

TEST(Broadcasting, RefusesShapesThatDoNotFit) {
  EXPECT_THROW((void)OpTest("Add").Run({Floats({2}, {1, 2}), Floats({3}, {1, 2, 3})}), InputError);
}

TEST(Arithmetic, LeavesAnInputThatOthersHoldUntouched) {
  const Tensor a = Floats({2}, {1, 2});
  const Tensor b = Floats({2}, {10, 20});
  ExpectEqual(OpTest("Add").Run({a, b}), Floats({2}, {11, 22}));
  ExpectEqual(a, Floats({2}, {1, 2}));
  ExpectEqual(b, Floats({2}, {10, 20}));
}

TEST(Arithmetic, WritesIntoAnInputThatNobodyElseHolds) {
  Tensor a = Floats({2}, {1, 2});
  const float* memory = a.data<float>().data();
  std::vector<Tensor> inputs;
  inputs.push_back(std::move(a));
  inputs.push_back(Floats({}, {3}));
  const Tensor y = OpTest("Mul").Run(std::move(inputs));
  EXPECT_EQ(y.data<float>().data(), memory);
  ExpectEqual(y, Floats({2}, {3, 6}));
}

TEST(Arithmetic, DividesIntegersTowardsZero) {
  ExpectEqual(OpTest("Div").Run({Int64s({4}, {7, -7, 7, -7}), Int64s({4}, {2, 2, -2, -2})}),
              Int64s({4}, {3, -3, -3, 3}));
}

TEST(Arithmetic, SurvivesTheIntegerDivisionsThatTrap) {
  EXPECT_THROW((void)OpTest("Div").Run({Int64s({1}, {1}), Int64s({1}, {0})}), InputError);
  EXPECT_THROW((void)OpTest("Mod").Run({Int64s({1}, {1}), Int64s({1}, {0})}), InputError);
  constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
  ExpectEqual(OpTest("Div").Run({Int64s({1}, {kMin}), Int64s({1}, {-1})}), Int64s({1}, {kMin}));
  ExpectEqual(OpTest("Mod").Run({Int64s({1}, {kMin}), Int64s({1}, {-1})}), Int64s({1}, {0}));
}

TEST(Mod, TakesTheSignOfTheDivisorOrOfTheDividend) {
  const Tensor a = Int64s({4}, {7, -7, 7, -7});
  const Tensor b = Int64s({4}, {3, 3, -3, -3});
  ExpectEqual(OpTest("Mod").Run({a, b}), Int64s({4}, {1, 2, -2, -1}));
  ExpectEqual(OpTest("Mod").Int("fmod", 1).Run({a, b}), Int64s({4}, {1, -1, 1, -1}));
  ExpectEqual(OpTest("Mod").Int("fmod", 1).Run({Floats({2}, {5.5f, -5.5f}), Floats({}, {2})}),
              Floats({2}, {1.5f, -1.5f}));
}

TEST(Pow, TakesTheTypeOfTheBase) {
  ExpectEqual(OpTest("Pow").Run({Floats({3}, {2, 3, -4}), Int64s({}, {2})}),
              Floats({3}, {4, 9, 16}));
  ExpectEqual(OpTest("Pow").Run({Int64s({2}, {4, 9}), Floats({}, {0.5f})}), Int64s({2}, {2, 3}));
  ExpectEqual(OpTest("Pow").Run({Int64s({2}, {3, -3}), Int64s({}, {3})}), Int64s({2}, {27, -27}));
}

TEST(Pow, CommonExponentsAgreeWithTheLibrary) {
  std::mt19937 random(3);
  Tensor x = RandomFloats({200}, random);
  for (float& v : x.mutable_data<float>()) v = std::abs(v) + 0.01f;
  for (const float e : {2.0f, 3.0f, 0.5f, 1.0f, -1.0f, 1.7f, -0.5f, 0.0f}) {
    const Tensor y = OpTest("Pow").Run({x, Floats({1, 1}, {e})});
    ASSERT_EQ(y.shape(), (Shape{1, 200}));
    for (size_t i = 0; i < 200; ++i) {
      const float expected = std::pow(x.data<float>()[i], e);
      ASSERT_NEAR(y.data<float>()[i], expected, 1e-6f * std::abs(expected)) << "exponent " << e;
    }
  }
}

TEST(Variadic, FoldsAnyNumberOfOperandsWithBroadcasting) {
  const Tensor a = Floats({2, 1}, {1, 5});
  const Tensor b = Floats({3}, {0, 3, 9});
  const Tensor c = Floats({}, {4});
  ExpectEqual(OpTest("Max").Run({a, b, c}), Floats({2, 3}, {4, 4, 9, 5, 5, 9}));
  ExpectEqual(OpTest("Min").Run({a, b, c}), Floats({2, 3}, {0, 1, 1, 0, 3, 4}));
  ExpectEqual(OpTest("Sum").Run({a, b, c}), Floats({2, 3}, {5, 8, 14, 9, 12, 18}));
  ExpectEqual(OpTest("Mean").Run({a, Floats({}, {3})}), Floats({2, 1}, {2, 4}));
  ExpectEqual(OpTest("Max").Run({a}), a);
  ExpectEqual(OpTest("Min").Run({Int64s({2}, {3, -1}), Int64s({}, {2})}), Int64s({2}, {2, -1}));
}

TEST(Variadic, LetsNanWinOverNumbers) {
  const Tensor y = OpTest("Max").Run({Floats({2}, {NAN, 1}), Floats({2}, {1, NAN})});
  EXPECT_TRUE(std::isnan(y.data<float>()[0]));
  EXPECT_TRUE(std::isnan(y.data<float>()[1]));
}

/// Every unary function against the C++ library in double.
TEST(Unary, AgreesWithTheStandardLibrary) {
  struct Case {
    const char* type;
    double (*reference)(double);
    float low, high;
  };
  const Case cases[] = {
      {"Exp", [](double x) { return std::exp(x); }, -20, 20},
      {"Log", [](double x) { return std::log(x); }, 1e-3f, 100},
      {"Sqrt", [](double x) { return std::sqrt(x); }, 0, 100},
      {"Reciprocal", [](double x) { return 1 / x; }, 0.1f, 100},
      {"Erf", [](double x) { return std::erf(x); }, -6, 6},
      {"Sin", [](double x) { return std::sin(x); }, -2000, 2000},
      {"Cos", [](double x) { return std::cos(x); }, -2000, 2000},
      {"Tan", [](double x) { return std::tan(x); }, -1.5f, 1.5f},
      {"Asin", [](double x) { return std::asin(x); }, -1, 1},
      {"Acos", [](double x) { return std::acos(x); }, -1, 1},
      {"Atan", [](double x) { return std::atan(x); }, -50, 50},
      {"Sinh", [](double x) { return std::sinh(x); }, -5, 5},
      {"Cosh", [](double x) { return std::cosh(x); }, -5, 5},
      {"Tanh", [](double x) { return std::tanh(x); }, -12, 12},
      {"Sigmoid", [](double x) { return 1 / (1 + std::exp(-x)); }, -30, 30},
      {"Softplus", [](double x) { return std::log1p(std::exp(x)); }, -30, 30},
      {"Gelu", [](double x) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))); }, -8, 8},
      {"Mish", [](double x) { return x * std::tanh(std::log1p(std::exp(x))); }, -20, 20},
      {"Elu", [](double x) { return x < 0 ? std::expm1(x) : x; }, -5, 5},
      {"HardSwish", [](double x) { return x * std::fmin(1, std::fmax(0, x / 6 + 0.5)); }, -5, 5},
      {"Floor", [](double x) { return std::floor(x); }, -9, 9},
      {"Ceil", [](double x) { return std::ceil(x); }, -9, 9},
      {"Abs", [](double x) { return std::fabs(x); }, -9, 9},
      {"Neg", [](double x) { return -x; }, -9, 9},
      {"Relu", [](double x) { return std::fmax(x, 0); }, -9, 9},
  };
  std::mt19937 random(7);
  for (const Case& c : cases) {
    SCOPED_TRACE(c.type);
    Tensor x(DType::kFloat32, {101});
    std::uniform_real_distribution<float> uniform(c.low, c.high);
    for (float& v : x.mutable_data<float>()) v = uniform(random);
    const Tensor y = OpTest(c.type, 22).Run({x});
    for (size_t i = 0; i < 101; ++i) {
      const double expected = c.reference(x.data<float>()[i]);
      ASSERT_NEAR(y.data<float>()[i], expected, 2e-6 * std::max(1.0, std::abs(expected)))
          << "at " << x.data<float>()[i];
    }
  }
}

TEST(Unary, ExtremesNeitherOverflowNorLeaveDenormals) {
  const Tensor y = OpTest("Exp").Run({Floats({4}, {-kInfinity, -100, 100, kInfinity})});
  EXPECT_EQ(Values<float>(y), (std::vector<float>{0, 0, kInfinity, kInfinity}));
  const Tensor s = OpTest("Sigmoid").Run({Floats({2}, {-kInfinity, kInfinity})});
  EXPECT_LT(s.data<float>()[0], 1e-37f);
  EXPECT_EQ(s.data<float>()[1], 1.0f);
  EXPECT_TRUE(std::isnan(OpTest("Exp").Run({Floats({1}, {NAN})}).data<float>()[0]));
}

TEST(Unary, KnowsTheRootOfInfinity) {
  const Tensor x = Floats({5}, {kInfinity, 4, 0, 9, kInfinity});
  const Tensor expected = Floats({5}, {kInfinity, 2, 0, 3, kInfinity});
  ExpectEqual(OpTest("Sqrt").Run({x}), expected);
  ExpectEqual(OpTest("Pow").Run({x, Floats({}, {0.5f})}), expected);
}

TEST(Unary, RoundsHalvesToEven) {
  ExpectEqual(OpTest("Round").Run({Floats({5}, {0.5f, 1.5f, 2.5f, -0.5f, -2.5f})}),
              Floats({5}, {0, 2, 2, 0, -2}));
}

TEST(Unary, KeepsIntegers) {
  ExpectEqual(OpTest("Neg").Run({Int64s({2}, {3, -4})}), Int64s({2}, {-3, 4}));
  ExpectEqual(OpTest("Abs").Run({Int64s({2}, {3, -4})}), Int64s({2}, {3, 4}));
  ExpectEqual(OpTest("Sign").Run({Int64s({3}, {3, 0, -4})}), Int64s({3}, {1, 0, -1}));
}

TEST(Clip, TakesBoundsFromInputsOrAttributes) {
  const Tensor x = Floats({3}, {-2, 0.5f, 9});
  ExpectEqual(OpTest("Clip", 13).Run({x, Floats({}, {-1}), Floats({}, {1})}),
              Floats({3}, {-1, 0.5f, 1}));
  ExpectEqual(OpTest("Clip", 13).Run({x, Tensor(), Floats({}, {1})}), Floats({3}, {-2, 0.5f, 1}));
  ExpectEqual(OpTest("Clip", 6).Float("min", 0).Run({x}), Floats({3}, {0, 0.5f, 9}));
  ExpectEqual(OpTest("Clip", 13).Run({Int64s({2}, {-5, 5}), Int64s({}, {0})}), Int64s({2}, {0, 5}));
  // The upper bound wins when the bounds cross.
  ExpectEqual(OpTest("Clip", 13).Run({x, Floats({}, {3}), Floats({}, {1})}),
              Floats({3}, {1, 1, 1}));
}

TEST(ContribActivation, AddsTheBiasFirst) {
  const Tensor x = Floats({2, 2}, {0.1f, -1, 2, 0});
  const Tensor bias = Floats({2}, {0.5f, -0.25f});
  const Tensor biased = OpTest("Add").Run({x, bias});
  ExpectEqual(OpTest("BiasGelu", 1, "com.microsoft").Run({x, bias}),
              OpTest("Gelu", 20).Run({biased}), 1e-7f);
  const Tensor fast = OpTest("Gelu", 20).String("approximate", "tanh").Run({biased});
  ExpectEqual(OpTest("FastGelu", 1, "com.microsoft").Run({x, bias}), fast, 1e-7f);
  ExpectEqual(OpTest("FastGelu", 1, "com.microsoft").Run({biased}), fast, 1e-7f);
  ExpectEqual(OpTest("BiasAdd", 1, "com.microsoft").Run({x, bias, biased}),
              OpTest("Add").Run({biased, biased}));
}

}  // namespace
}  // namespace ptq::testing
