// Convolution, pooling and resizing against references that visit one element at a time.
#include "support/kernel_testing.h"

#include "ptq/base/error.h"

namespace ptq::testing {
namespace {

struct Setting {
  int64_t groups, stride, dilation, pad;
};

/// One-dimensional over H with W = 1 would hide mistakes: this one is two-dimensional throughout.
float NaiveConvAt(const Tensor& x, const Tensor& w, const Setting& s, int64_t n, int64_t m,
                  int64_t row, int64_t column) {
  const int64_t channels = w.dim(1), group = m / (w.dim(0) / s.groups);
  double sum = 0;
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t i = 0; i < w.dim(2); ++i) {
      for (int64_t j = 0; j < w.dim(3); ++j) {
        const int64_t h = row * s.stride - s.pad + i * s.dilation;
        const int64_t v = column * s.stride - s.pad + j * s.dilation;
        if (h < 0 || h >= x.dim(2) || v < 0 || v >= x.dim(3)) continue;
        const int64_t from = ((n * x.dim(1) + group * channels + c) * x.dim(2) + h) * x.dim(3) + v;
        const int64_t weight = ((m * channels + c) * w.dim(2) + i) * w.dim(3) + j;
        sum += double{x.data<float>()[static_cast<size_t>(from)]} *
               w.data<float>()[static_cast<size_t>(weight)];
      }
    }
  }
  return static_cast<float>(sum);
}

Tensor RunConv(const std::string& type, const Setting& s, std::vector<Tensor> inputs) {
  return OpTest(type)
      .Int("group", s.groups)
      .Ints("strides", {s.stride, s.stride})
      .Ints("dilations", {s.dilation, s.dilation})
      .Ints("pads", {s.pad, s.pad, s.pad, s.pad})
      .Run(std::move(inputs));
}

TEST(Conv, AgreesWithTheReference) {
  std::mt19937 random(11);
  for (const Setting& s :
       {Setting{1, 1, 1, 0}, Setting{1, 2, 1, 1}, Setting{2, 1, 2, 3}, Setting{4, 3, 1, 2}}) {
    const Tensor x = RandomFloats({2, 4, 9, 7}, random);
    const Tensor w = RandomFloats({8, 4 / s.groups, 3, 2}, random);
    const Tensor y = RunConv("Conv", s, {x, w});
    for (int64_t i = 0; i < y.size(); ++i) {
      const int64_t column = i % y.dim(3), row = i / y.dim(3) % y.dim(2);
      const int64_t m = i / (y.dim(2) * y.dim(3)) % y.dim(1), n = i / (y.size() / y.dim(0));
      ASSERT_NEAR(y.data<float>()[static_cast<size_t>(i)], NaiveConvAt(x, w, s, n, m, row, column),
                  1e-4)
          << "groups " << s.groups << " element " << i;
    }
  }
}

TEST(ConvTranspose, IsTheAdjointOfConv) {
  // <conv(x), y> = <x, convᵀ(y)> for every x and y, which no wrong index survives.
  std::mt19937 random(12);
  for (const Setting& s :
       {Setting{1, 1, 1, 0}, Setting{1, 2, 1, 1}, Setting{2, 1, 2, 1}, Setting{2, 2, 1, 0}}) {
    const Tensor x = RandomFloats({2, 4, 9, 9}, random);
    const Tensor w = RandomFloats({6, 4 / s.groups, 3, 3}, random);
    const Tensor forward = RunConv("Conv", s, {x, w});
    const Tensor y = RandomFloats(forward.shape(), random);
    const Tensor back = RunConv("ConvTranspose", s, {y, w});
    ASSERT_EQ(back.shape(), x.shape());
    double left = 0, right = 0;
    for (size_t i = 0; i < static_cast<size_t>(y.size()); ++i) {
      left += double{forward.data<float>()[i]} * y.data<float>()[i];
    }
    for (size_t i = 0; i < static_cast<size_t>(x.size()); ++i) {
      right += double{x.data<float>()[i]} * back.data<float>()[i];
    }
    EXPECT_NEAR(left, right, 1e-3 * std::abs(left) + 1e-3);
  }
}

TEST(Conv, AddsTheBiasAndRefusesWrongChannels) {
  const Tensor x = Tensor::Filled({1, 2, 3}, 1.0f);
  ExpectEqual(OpTest("Conv").Run({x, Floats({1, 2, 2}, {1, 2, 3, 4}), Floats({1}, {0.5f})}),
              Floats({1, 1, 2}, {10.5f, 10.5f}));
  EXPECT_THROW((void)OpTest("Conv").Run({x, Tensor::Filled({1, 3, 2}, 1.0f)}), InputError);
  EXPECT_THROW((void)OpTest("Conv").Ints("strides", {0}).Run({x, Tensor::Filled({1, 2, 2}, 1.0f)}),
               InputError);
}

TEST(MaxPool, TellsWhereTheMaximaWere) {
  const auto outputs = OpTest("MaxPool")
                           .Ints("kernel_shape", {2})
                           .Outputs(2)
                           .RunAll({Floats({1, 2, 3}, {1, 3, 2, -5, -6, -4})});
  ExpectEqual(outputs[0], Floats({1, 2, 2}, {3, 3, -5, -4}));
  ExpectEqual(outputs[1], Int64s({1, 2, 2}, {1, 1, 3, 5}));
}

TEST(AveragePool, CountsPaddingOnlyWhenAsked) {
  const Tensor x = Floats({1, 1, 2}, {2, 4});
  const auto run = [&](int64_t include) {
    return OpTest("AveragePool")
        .Ints("kernel_shape", {2})
        .Ints("pads", {1, 1})
        .Int("count_include_pad", include)
        .Run({x});
  };
  ExpectEqual(run(0), Floats({1, 1, 3}, {2, 3, 4}));
  ExpectEqual(run(1), Floats({1, 1, 3}, {1, 3, 2}));
}

TEST(GlobalPool, ReducesWholePlanes) {
  const Tensor x = Floats({1, 2, 1, 2}, {1, 3, -2, -8});
  ExpectEqual(OpTest("GlobalAveragePool").Run({x}), Floats({1, 2, 1, 1}, {2, -5}));
  ExpectEqual(OpTest("GlobalMaxPool").Run({x}), Floats({1, 2, 1, 1}, {3, -2}));
}

TEST(Resize, RepeatsOrInterpolates) {
  const Tensor x = Floats({1, 1, 2}, {0, 4});
  const auto run = [&](const char* mode, const char* coordinates) {
    return OpTest("Resize")
        .String("mode", mode)
        .String("coordinate_transformation_mode", coordinates)
        .Run({x, Tensor(), Floats({3}, {1, 1, 2})});
  };
  ExpectEqual(run("nearest", "asymmetric"), Floats({1, 1, 4}, {0, 0, 4, 4}));
  ExpectEqual(run("linear", "half_pixel"), Floats({1, 1, 4}, {0, 1, 3, 4}));
  EXPECT_THROW((void)OpTest("Resize").Run({x, Tensor(), Floats({3}, {1, 1, INFINITY})}),
               InputError);
  EXPECT_THROW((void)OpTest("Resize").Run({x, Tensor(), Tensor(), Int64s({1, 1, -1})}), InputError);
  ExpectEqual(run("linear", "align_corners"), Floats({1, 1, 4}, {0, 4.0f / 3, 8.0f / 3, 4}), 1e-6f);
}

}  // namespace
}  // namespace ptq::testing
