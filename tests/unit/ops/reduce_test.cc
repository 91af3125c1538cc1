// Reductions against references in double that collect what folds by its coordinates.
#include <cmath>
#include <functional>
#include <limits>
#include <map>

#include "support/kernel_testing.h"

#include "ptq/base/error.h"

namespace ptq::testing {
namespace {

using Row = std::vector<double>;

double Sum(const Row& row) {
  double sum = 0;
  for (const double x : row) sum += x;
  return sum;
}

const std::map<std::string, std::function<double(const Row&)>>& References() {
  static const std::map<std::string, std::function<double(const Row&)>> kReferences = {
      {"ReduceSum", Sum},
      {"ReduceMean", [](const Row& r) { return Sum(r) / static_cast<double>(r.size()); }},
      {"ReduceMax", [](const Row& r) { return *std::max_element(r.begin(), r.end()); }},
      {"ReduceMin", [](const Row& r) { return *std::min_element(r.begin(), r.end()); }},
      {"ReduceProd",
       [](const Row& r) {
         double p = 1;
         for (double x : r) p *= x;
         return p;
       }},
      {"ReduceL1",
       [](const Row& r) {
         double s = 0;
         for (double x : r) s += std::abs(x);
         return s;
       }},
      {"ReduceL2",
       [](const Row& r) {
         double s = 0;
         for (double x : r) s += x * x;
         return std::sqrt(s);
       }},
      {"ReduceSumSquare",
       [](const Row& r) {
         double s = 0;
         for (double x : r) s += x * x;
         return s;
       }},
      {"ReduceLogSum", [](const Row& r) { return std::log(Sum(r)); }},
      {"ReduceLogSumExp",
       [](const Row& r) {
         double s = 0;
         for (double x : r) s += std::exp(x);
         return std::log(s);
       }},
  };
  return kReferences;
}

/// The values that fold into each element of the result, by coordinates.
std::vector<Row> Groups(const Tensor& x, const std::vector<bool>& folds) {
  Shape kept = x.shape();
  for (size_t d = 0; d < kept.size(); ++d) kept[d] = folds[d] ? 1 : kept[d];
  const auto strides = BroadcastStrides(kept, x.shape());
  std::vector<Row> groups(static_cast<size_t>(NumElements(kept)));
  for (int64_t i = 0; i < x.size(); ++i) {
    int64_t at = 0;
    int64_t rest = i;
    for (size_t d = kept.size(); d-- > 0; rest /= x.shape()[d])
      at += rest % x.shape()[d] * strides[d];
    groups[static_cast<size_t>(at)].push_back(x.data<float>()[static_cast<size_t>(i)]);
  }
  return groups;
}

TEST(Reduction, AgreesWithTheDefinitionForRandomShapesAndAxes) {
  for (uint32_t seed = 0; seed < 60; ++seed) {
    std::mt19937 random(seed);
    const auto pick = [&](int low, int high) {
      return std::uniform_int_distribution<int>(low, high)(random);
    };
    Shape shape(static_cast<size_t>(pick(1, 4)));
    for (int64_t& dim : shape) dim = pick(1, 6);
    std::vector<bool> folds(shape.size());
    std::vector<int64_t> axes;
    for (size_t d = 0; d < shape.size(); ++d) {
      folds[d] = pick(0, 1) == 1;
      const auto rank = static_cast<int64_t>(shape.size());
      if (folds[d]) axes.push_back(static_cast<int64_t>(d) - (pick(0, 1) == 1 ? rank : 0));
    }
    if (axes.empty()) folds.assign(shape.size(), true);
    const bool keep = pick(0, 1) == 1;
    Tensor x = RandomFloats(shape, random);
    for (float& v : x.mutable_data<float>()) v = std::abs(v) + 0.1f;  // positive for the logarithm
    const auto groups = Groups(x, folds);
    Shape expected_shape;
    for (size_t d = 0; d < shape.size(); ++d) {
      if (!folds[d]) expected_shape.push_back(shape[d]);
      if (folds[d] && keep) expected_shape.push_back(1);
    }
    for (const auto& [type, reference] : References()) {
      SCOPED_TRACE(type + ", seed " + std::to_string(seed));
      // Axes are an attribute until opset 12 (17 for most), an input since.
      const Tensor old = OpTest(type, 11).Int("keepdims", keep).Ints("axes", axes).Run({x});
      const Tensor now = OpTest(type, 18).Int("keepdims", keep).Run({x, Int64s(axes)});
      ExpectEqual(old, now);
      ASSERT_EQ(now.shape(), expected_shape);
      for (size_t i = 0; i < groups.size(); ++i) {
        const double expected = reference(groups[i]);
        ASSERT_NEAR(now.data<float>()[i], expected, 2e-6 * std::max(1.0, std::abs(expected)));
      }
    }
  }
}

TEST(Reduction, WithoutAxesFoldsEverythingOrNothing) {
  const Tensor x = Floats({2, 2}, {1, 2, 3, 4});
  ExpectEqual(OpTest("ReduceSum", 13).Run({x}), Floats({1, 1}, {10}));
  ExpectEqual(OpTest("ReduceSum", 13).Int("keepdims", 0).Run({x}), Floats({}, {10}));
  ExpectEqual(OpTest("ReduceSum", 13).Int("noop_with_empty_axes", 1).Run({x}), x);
  // What is not the folding itself still happens.
  ExpectEqual(OpTest("ReduceSumSquare", 18).Int("noop_with_empty_axes", 1).Run({x}),
              Floats({2, 2}, {1, 4, 9, 16}));
}

TEST(Reduction, GivesTheNeutralElementForNothing) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const Tensor empty(DType::kFloat32, {2, 0});
  const auto reduce = [&](const char* type) { return OpTest(type, 18).Run({empty, Int64s({1})}); };
  ExpectEqual(reduce("ReduceSum"), Floats({2, 1}, {0, 0}));
  ExpectEqual(reduce("ReduceProd"), Floats({2, 1}, {1, 1}));
  ExpectEqual(reduce("ReduceMax"), Floats({2, 1}, {-kInfinity, -kInfinity}));
  ExpectEqual(reduce("ReduceMin"), Floats({2, 1}, {kInfinity, kInfinity}));
  EXPECT_EQ(OpTest("ReduceSum", 18).Run({empty, Int64s({0})}).shape(), (Shape{1, 0}));
}

TEST(Reduction, KeepsIntegersAndBooleans) {
  const Tensor x = Int64s({2, 3}, {1, 2, 3, 4, 5, 7});
  ExpectEqual(OpTest("ReduceSum", 13).Run({x, Int64s({0})}), Int64s({1, 3}, {5, 7, 10}));
  ExpectEqual(OpTest("ReduceMax", 18).Run({x, Int64s({1})}), Int64s({2, 1}, {3, 7}));
  ExpectEqual(OpTest("ReduceProd", 18).Int("keepdims", 0).Run({x}), Int64s({}, {840}));
  ExpectEqual(
      OpTest("ReduceMax", 20).Run({Bools({2, 2}, {true, false, false, false}), Int64s({1})}),
      Bools({2, 1}, {true, false}));
}

TEST(Reduction, StaysExactOverLongRows) {
  // One float accumulator would drift by more than a percent here.
  const Tensor x = Tensor::Filled<float>({1 << 22}, 0.1f);
  const double expected = static_cast<double>(0.1f) * (1 << 22);
  EXPECT_NEAR(OpTest("ReduceSum", 13).Run({x}).data<float>()[0], expected, 1e-6 * expected);
}

TEST(Reduction, RefusesAnAxisOutsideTheTensor) {
  EXPECT_THROW((void)OpTest("ReduceSum", 13).Run({Floats({1}, {1}), Int64s({1})}), InputError);
}

}  // namespace
}  // namespace ptq::testing
