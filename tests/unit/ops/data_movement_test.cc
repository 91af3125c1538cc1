// Transpose, Slice, Expand, Tile, Concat and Split against references that move one element at a
// time.
#include "support/kernel_testing.h"

#include "ptq/base/error.h"

namespace ptq::testing {
namespace {

constexpr unsigned kSeed = 20240;

/// Coordinates of element `index` of a tensor of `shape`.
std::vector<int64_t> Coordinates(int64_t index, const Shape& shape) {
  std::vector<int64_t> at(shape.size());
  for (size_t i = shape.size(); i-- > 0;) {
    at[i] = index % shape[i];
    index /= shape[i];
  }
  return at;
}

int64_t Offset(const std::vector<int64_t>& at, const Shape& shape) {
  int64_t offset = 0;
  for (size_t i = 0; i < shape.size(); ++i) offset = offset * shape[i] + at[i];
  return offset;
}

int64_t Pick(std::mt19937& random, int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(random);
}

Shape RandomShape(std::mt19937& random, int64_t rank, int64_t largest) {
  Shape shape(static_cast<size_t>(rank));
  for (int64_t& dim : shape) dim = Pick(random, 0, 9) == 0 ? 0 : Pick(random, 1, largest);
  return shape;
}

Tensor Counting(const Shape& shape) {
  Tensor tensor(DType::kInt32, shape);
  int32_t next = 0;
  for (int32_t& value : tensor.mutable_data<int32_t>()) value = next++;
  return tensor;
}

Tensor NaiveTranspose(const Tensor& data, const std::vector<int64_t>& perm) {
  Shape shape;
  for (const int64_t axis : perm) shape.push_back(data.dim(axis));
  Tensor result(DType::kInt32, shape);
  for (int64_t i = 0; i < result.size(); ++i) {
    const auto at = Coordinates(i, shape);
    std::vector<int64_t> from(at.size());
    for (size_t axis = 0; axis < at.size(); ++axis)
      from[static_cast<size_t>(perm[axis])] = at[axis];
    result.mutable_data<int32_t>()[static_cast<size_t>(i)] =
        data.data<int32_t>()[static_cast<size_t>(Offset(from, data.shape()))];
  }
  return result;
}

TEST(Transpose, AgreesWithTheReferenceOnRandomShapes) {
  std::mt19937 random(kSeed);
  for (int round = 0; round < 200; ++round) {
    SCOPED_TRACE(round);
    const int64_t rank = Pick(random, 0, 5);
    const Tensor data = Counting(RandomShape(random, rank, rank > 3 ? 6 : 40));
    std::vector<int64_t> perm(static_cast<size_t>(rank));
    for (size_t i = 0; i < perm.size(); ++i) perm[i] = static_cast<int64_t>(i);
    std::shuffle(perm.begin(), perm.end(), random);
    ExpectEqual(OpTest("Transpose").Ints("perm", perm).Run({data}), NaiveTranspose(data, perm));
  }
}

TEST(Transpose, AgreesWithTheReferenceWhenTheWorkIsCut) {
  for (const auto& perm : std::vector<std::vector<int64_t>>{
           {0, 2, 1, 3}, {0, 2, 3, 1}, {0, 3, 1, 2}, {3, 2, 1, 0}, {1, 0, 2, 3}}) {
    const Tensor data = Counting({2, 70, 12, 65});
    ExpectEqual(OpTest("Transpose").Ints("perm", perm).Run({data}), NaiveTranspose(data, perm));
  }
  const Tensor wide = Counting({3, 100001});
  ExpectEqual(OpTest("Transpose").Run({wide}), NaiveTranspose(wide, {1, 0}));
}

TEST(Transpose, MovesElementsOfEveryWidth) {
  const Tensor data = Counting({5, 7});
  const Tensor expected = NaiveTranspose(data, {1, 0});
  for (const DType dtype : {DType::kUint8, DType::kInt16, DType::kFloat32, DType::kInt64}) {
    ExpectEqual(OpTest("Transpose").Run({data.Cast(dtype)}), expected.Cast(dtype));
  }
}

/// Slices one axis as a Python loop would: the bounds clamped, then one step after the other.
Tensor NaiveSlice(const Tensor& data, size_t axis, int64_t start, int64_t end, int64_t step) {
  const int64_t length = data.shape()[axis];
  start = start < 0 ? start + length : start;
  end = end < 0 ? end + length : end;
  std::vector<int64_t> kept;
  if (step > 0) {
    for (int64_t i = std::max<int64_t>(start, 0); i < std::min(end, length); i += step) {
      kept.push_back(i);
    }
  } else {
    start = std::clamp<int64_t>(start, 0, std::max<int64_t>(length - 1, 0));
    for (int64_t i = std::min(start, length - 1); i > std::max<int64_t>(end, -1); i += step) {
      kept.push_back(i);
    }
  }
  Shape shape = data.shape();
  shape[axis] = static_cast<int64_t>(kept.size());
  Tensor result(DType::kInt32, shape);
  for (int64_t i = 0; i < result.size(); ++i) {
    auto at = Coordinates(i, shape);
    at[axis] = kept[static_cast<size_t>(at[axis])];
    result.mutable_data<int32_t>()[static_cast<size_t>(i)] =
        data.data<int32_t>()[static_cast<size_t>(Offset(at, data.shape()))];
  }
  return result;
}

TEST(Slice, AgreesWithTheReferenceOnRandomBounds) {
  std::mt19937 random(kSeed);
  for (int round = 0; round < 300; ++round) {
    SCOPED_TRACE(round);
    const int64_t rank = Pick(random, 1, 4);
    const Tensor data = Counting(RandomShape(random, rank, 7));
    const int64_t axis = Pick(random, 0, rank - 1);
    const int64_t step = Pick(random, 1, 4) * (Pick(random, 0, 1) == 0 ? 1 : -1);
    const int64_t start = Pick(random, -10, 10);
    const int64_t end = Pick(random, -10, 10);
    const Tensor expected = NaiveSlice(data, static_cast<size_t>(axis), start, end, step);
    const int64_t written = Pick(random, 0, 1) == 0 ? axis : axis - rank;
    ExpectEqual(OpTest("Slice").Run(
                    {data, Int64s({start}), Int64s({end}), Int64s({written}), Int64s({step})}),
                expected);
    if (step == 1) {
      ExpectEqual(OpTest("Slice", 9)
                      .Ints("starts", {start})
                      .Ints("ends", {end})
                      .Ints("axes", {axis})
                      .Run({data}),
                  expected);
    }
  }
}

TEST(Slice, AcceptsTheLargestNumbersAsBoundsAndSteps) {
  constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  const Tensor data = Int64s({1, 2, 3, 4});
  const auto run = [&](int64_t start, int64_t end, int64_t step) {
    return OpTest("Slice").Run({data, Int64s({start}), Int64s({end}), Int64s({0}), Int64s({step})});
  };
  ExpectEqual(run(kMax, kMin, -1), Int64s({4, 3, 2, 1}));
  ExpectEqual(run(kMin, kMax, kMax), Int64s({1}));
  ExpectEqual(run(kMax, kMin, kMin), Int64s({4}));
  EXPECT_THROW((void)run(0, 4, 0), InputError);
}

TEST(Expand, BroadcastsInBothDirections) {
  ExpectEqual(OpTest("Expand").Run({Floats({2, 1}, {1, 2}), Int64s({2, 1, 3})}),
              Floats({2, 2, 3}, {1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2, 2}));
  ExpectEqual(OpTest("Expand").Run({Floats({2, 1}, {1, 2}), Int64s({1})}), Floats({2, 1}, {1, 2}));
  EXPECT_EQ(OpTest("Expand").Run({Floats({1, 1}, {1}), Int64s({0, 4})}).shape(), (Shape{0, 4}));
  ExpectEqual(OpTest("Expand").Run({Tensor::Scalar(true), Int64s({2})}), Bools({2}, {true, true}));
  EXPECT_THROW((void)OpTest("Expand").Run({Floats({2}, {1, 2}), Int64s({3})}), InputError);
}

TEST(Tile, RepeatsEveryAxis) {
  ExpectEqual(OpTest("Tile").Run({Floats({2, 2}, {1, 2, 3, 4}), Int64s({2, 2})}),
              Floats({4, 4}, {1, 2, 1, 2, 3, 4, 3, 4, 1, 2, 1, 2, 3, 4, 3, 4}));
  EXPECT_EQ(OpTest("Tile").Run({Floats({2}, {1, 2}), Int64s({0})}).shape(), (Shape{0}));
  EXPECT_THROW((void)OpTest("Tile").Run({Floats({2}, {1, 2}), Int64s({1, 1})}), InputError);
}

TEST(Concat, IsUndoneBySplit) {
  std::mt19937 random(kSeed);
  for (int round = 0; round < 100; ++round) {
    SCOPED_TRACE(round);
    const int64_t rank = Pick(random, 1, 4);
    const auto axis = static_cast<size_t>(Pick(random, 0, rank - 1));
    Shape shape = RandomShape(random, rank, 6);
    std::vector<Tensor> parts;
    std::vector<int64_t> lengths;
    for (int64_t i = Pick(random, 1, 4); i > 0; --i) {
      shape[axis] = Pick(random, 0, 5);
      lengths.push_back(shape[axis]);
      parts.push_back(RandomFloats(shape, random));
    }
    const auto along = static_cast<int64_t>(axis);
    const Tensor whole = OpTest("Concat").Int("axis", along - rank).Run(parts);
    const auto split = OpTest("Split")
                           .Int("axis", along)
                           .Outputs(static_cast<int>(parts.size()))
                           .RunAll({whole, Int64s(lengths)});
    for (size_t i = 0; i < parts.size(); ++i) ExpectEqual(split[i], parts[i]);
  }
}

TEST(Concat, LeavesOutEmptyOperandsThatDoNotFit) {
  const Tensor key = Tensor::Filled({1, 2, 3, 4}, 1.0f);
  ExpectEqual(OpTest("Concat").Int("axis", 2).Run({Tensor::Filled({1, 8, 0, 4}, 0.0f), key}), key);
  ExpectEqual(OpTest("Concat").Int("axis", 2).Run({Tensor::Filled({0}, 0.0f), key}), key);
  EXPECT_THROW((void)OpTest("Concat").Int("axis", 2).Run({Tensor::Filled({1, 8, 1, 4}, 0.0f), key}),
               InputError);
}

TEST(Concat, JoinsRowsOfOneElement) {
  ExpectEqual(
      OpTest("Concat").Int("axis", -1).Run({Int64s({2, 1}, {1, 2}), Int64s({2, 1}, {3, 4})}),
      Int64s({2, 2}, {1, 3, 2, 4}));
}

TEST(Split, CutsEquallyWithAShorterRest) {
  const auto parts =
      OpTest("Split").Int("num_outputs", 3).Outputs(3).RunAll({Int64s({1, 2, 3, 4, 5})});
  ExpectEqual(parts[0], Int64s({1, 2}));
  ExpectEqual(parts[1], Int64s({3, 4}));
  ExpectEqual(parts[2], Int64s({5}));
  EXPECT_THROW((void)OpTest("Split", 11).Ints("split", {1, 2}).Outputs(2).Run({Int64s({1, 2})}),
               InputError);
}

}  // namespace
}  // namespace ptq::testing
