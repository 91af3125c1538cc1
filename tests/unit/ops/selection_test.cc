// Operators that choose, count or reorder elements.
#include "support/kernel_testing.h"

#include "ptq/base/error.h"

namespace ptq::testing {
namespace {

TEST(OneHot, SetsTheChosenPlaceAndIgnoresIndicesOutside) {
  ExpectEqual(
      OpTest("OneHot").Run({Int64s({1, -1, 5}), Tensor::Scalar<int64_t>(3), Floats({2}, {0, 9})}),
      Floats({3, 3}, {0, 9, 0, 0, 0, 9, 0, 0, 0}));
  ExpectEqual(
      OpTest("OneHot").Int("axis", 0).Run({Int64s({1, 0}), Tensor::Scalar(2.0f), Int64s({4, 5})}),
      Int64s({2, 2}, {4, 5, 5, 4}));
}

TEST(NonZero, ListsCoordinatesByAxis) {
  ExpectEqual(OpTest("NonZero").Run({Floats({2, 2}, {1, 0, -0.0f, 3})}),
              Int64s({2, 2}, {0, 1, 0, 1}));
  EXPECT_EQ(OpTest("NonZero").Run({Floats({0, 2}, {})}).shape(), (Shape{2, 0}));
}

TEST(Compress, KeepsWhatTheConditionSelects) {
  const Tensor data = Floats({2, 3}, {1, 2, 3, 4, 5, 6});
  ExpectEqual(OpTest("Compress").Int("axis", 1).Run({data, Bools({3}, {true, false, true})}),
              Floats({2, 2}, {1, 3, 4, 6}));
  ExpectEqual(OpTest("Compress").Run({data, Bools({2}, {false, true})}), Floats({1}, {2}));
}

TEST(Unique, TellsPlacesAndCounts) {
  const auto sorted = OpTest("Unique").Outputs(4).RunAll({Int64s({3, 1, 3, 2})});
  ExpectEqual(sorted[0], Int64s({1, 2, 3}));
  ExpectEqual(sorted[1], Int64s({1, 3, 0}));
  ExpectEqual(sorted[2], Int64s({2, 0, 2, 1}));
  ExpectEqual(sorted[3], Int64s({1, 1, 2}));
  ExpectEqual(OpTest("Unique").Int("sorted", 0).Run({Int64s({3, 1, 3, 2})}), Int64s({3, 1, 2}));
  ExpectEqual(OpTest("Unique").Int("axis", 1).Run({Int64s({2, 3}, {1, 0, 1, 4, 5, 4})}),
              Int64s({2, 2}, {0, 1, 5, 4}));
}

TEST(TopK, BreaksTiesByTheFirstIndex) {
  const auto best = OpTest("TopK").Outputs(2).RunAll({Floats({5}, {2, 7, 7, 1, 7}), Int64s({3})});
  ExpectEqual(best[0], Floats({3}, {7, 7, 7}));
  ExpectEqual(best[1], Int64s({1, 2, 4}));
  const auto least = OpTest("TopK")
                         .Int("largest", 0)
                         .Int("axis", 0)
                         .Outputs(2)
                         .RunAll({Floats({2, 2}, {4, 1, 3, 2}), Int64s({1})});
  ExpectEqual(least[0], Floats({1, 2}, {3, 1}));
  ExpectEqual(least[1], Int64s({1, 2}, {1, 0}));
  EXPECT_THROW((void)OpTest("TopK").Run({Floats({1}, {1}), Int64s({2})}), InputError);
}

TEST(TopK, PutsNanLast) {
  const auto best = OpTest("TopK").Outputs(2).RunAll({Floats({3}, {NAN, 1, 2}), Int64s({2})});
  ExpectEqual(best[1], Int64s({2, 1}));
}

TEST(Pad, FillsEveryMode) {
  const Tensor data = Floats({3}, {1, 2, 3});
  const auto run = [&](const char* mode) {
    return OpTest("Pad").String("mode", mode).Run({data, Int64s({2, 4})});
  };
  ExpectEqual(run("constant"), Floats({9}, {0, 0, 1, 2, 3, 0, 0, 0, 0}));
  ExpectEqual(run("edge"), Floats({9}, {1, 1, 1, 2, 3, 3, 3, 3, 3}));
  ExpectEqual(run("wrap"), Floats({9}, {2, 3, 1, 2, 3, 1, 2, 3, 1}));
  ExpectEqual(run("reflect"), Floats({9}, {3, 2, 1, 2, 3, 2, 1, 2, 3}));
  ExpectEqual(OpTest("Pad").Run({data, Int64s({-1, 1})}), Floats({3}, {2, 3, 0}));
  EXPECT_THROW((void)OpTest("Pad").Run({data, Int64s({-2, -2})}), InputError);
  EXPECT_THROW((void)OpTest("Pad").Run({data, Int64s({1})}), InputError);
}

TEST(SpaceToDepth, IsUndoneByDepthToSpace) {
  std::mt19937 random(5);
  const Tensor data = RandomFloats({2, 3, 4, 6}, random);
  const Tensor deep = OpTest("SpaceToDepth").Int("blocksize", 2).Run({data});
  EXPECT_EQ(deep.shape(), (Shape{2, 12, 2, 3}));
  ExpectEqual(OpTest("DepthToSpace").Int("blocksize", 2).Run({deep}), data);
}

TEST(DepthToSpace, OrdersColumnsBeforeDepthWhenAsked) {
  const Tensor data = Floats({1, 4, 1, 1}, {1, 2, 3, 4});
  ExpectEqual(OpTest("DepthToSpace").Int("blocksize", 2).String("mode", "CRD").Run({data}),
              Floats({1, 1, 2, 2}, {1, 2, 3, 4}));
}

TEST(ReverseSequence, ReversesTheFirstElementsOfEachEntry) {
  const Tensor data = Floats({3, 2}, {1, 2, 3, 4, 5, 6});
  ExpectEqual(OpTest("ReverseSequence").Run({data, Int64s({2, 3})}),
              Floats({3, 2}, {3, 6, 1, 4, 5, 2}));
}

TEST(TensorScatter, WritesAroundTheEndOfACircularCache) {
  const Tensor cache = Floats({1, 3, 1}, {1, 2, 3});
  const Tensor update = Floats({1, 2, 1}, {8, 9});
  ExpectEqual(
      OpTest("TensorScatter", 24).String("mode", "circular").Run({cache, update, Int64s({2})}),
      Floats({1, 3, 1}, {9, 2, 8}));
  EXPECT_THROW((void)OpTest("TensorScatter", 24).Run({cache, update, Int64s({2})}), InputError);
  EXPECT_THROW((void)OpTest("TensorScatter", 24)
                   .String("mode", "circular")
                   .Run({Tensor(DType::kFloat32, {1, 0, 1}), update, Int64s({0})}),
               InputError);
}

TEST(Dropout, KeepsEverythingInInference) {
  const Tensor data = Floats({2}, {1, 2});
  const auto outputs = OpTest("Dropout").Outputs(2).RunAll({data, Tensor::Scalar(0.9f)});
  ExpectEqual(outputs[0], data);
  ExpectEqual(outputs[1], Bools({2}, {true, true}));
  const Tensor empty(DType::kFloat32, {2, 0, 4});
  EXPECT_THROW((void)OpTest("Dropout").Run({data, empty, Tensor::Scalar(true)}), InputError);
  EXPECT_THROW((void)OpTest("Dropout").Run({data, empty}), InputError);
  EXPECT_THROW((void)OpTest("Dropout").Run({data, Tensor::Scalar(0.9f), empty}), InputError);
  EXPECT_THROW((void)OpTest("Dropout").Run({data, Tensor::Scalar(0.9f), Tensor::Scalar(true)}),
               UnsupportedError);
}

TEST(BitShift, ShiftsWholeWidthsToZero) {
  const Tensor data = Tensor::From<uint8_t>({3}, {1, 2, 255});
  const Tensor by = Tensor::From<uint8_t>({3}, {1, 7, 8});
  ExpectEqual(OpTest("BitShift").String("direction", "LEFT").Run({data, by}),
              Tensor::From<uint8_t>({3}, {2, 0, 0}));
  ExpectEqual(OpTest("BitShift").String("direction", "RIGHT").Run({data, by}),
              Tensor::From<uint8_t>({3}, {0, 0, 0}));
}

}  // namespace
}  // namespace ptq::testing
