// Gather, Scatter and their kin on small tables.
#include "support/kernel_testing.h"

#include "ptq/base/error.h"

namespace ptq::testing {
namespace {

TEST(Gather, TakesRowsOfAnEmbedding) {
  const Tensor table = Floats({3, 2}, {0, 1, 10, 11, 20, 21});
  ExpectEqual(OpTest("Gather").Run({table, Int64s({1, 3}, {2, -3, 1})}),
              Floats({1, 3, 2}, {20, 21, 0, 1, 10, 11}));
  ExpectEqual(OpTest("Gather").Int("axis", 1).Run({table, Tensor::Scalar<int64_t>(-1)}),
              Floats({3}, {1, 11, 21}));
  EXPECT_EQ(OpTest("Gather").Run({table, Int64s({0}, {})}).shape(), (Shape{0, 2}));
  EXPECT_THROW((void)OpTest("Gather").Run({table, Int64s({3})}), InputError);
}

TEST(GatherElements, FollowsTheIndicesAlongTheAxis) {
  const Tensor data = Floats({3, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9});
  ExpectEqual(OpTest("GatherElements").Run({data, Int64s({2, 3}, {1, 2, 0, 2, 0, -3})}),
              Floats({2, 3}, {4, 8, 3, 7, 2, 3}));
  ExpectEqual(OpTest("GatherElements").Int("axis", 1).Run({data, Int64s({2, 2}, {0, 0, 1, 0})}),
              Floats({2, 2}, {1, 1, 5, 4}));
}

TEST(GatherNd, ReadsBlocksWithinTheirBatch) {
  const Tensor data = Int64s({2, 2, 2}, {0, 1, 2, 3, 4, 5, 6, 7});
  ExpectEqual(OpTest("GatherND").Run({data, Int64s({2, 2}, {0, 1, 1, 0})}),
              Int64s({2, 2}, {2, 3, 4, 5}));
  ExpectEqual(OpTest("GatherND").Int("batch_dims", 1).Run({data, Int64s({2, 1}, {1, 0})}),
              Int64s({2, 2}, {2, 3, 4, 5}));
  ExpectEqual(OpTest("GatherND").Run({data, Int64s({3}, {1, -1, 0})}), Tensor::Scalar<int64_t>(6));
  EXPECT_THROW((void)OpTest("GatherND").Int("batch_dims", -1).Run({data, Int64s({2, 1}, {1, 0})}),
               InputError);
}

TEST(ScatterNd, WritesAndReducesInOrder) {
  const Tensor data = Floats({4}, {1, 2, 3, 4});
  const Tensor at = Int64s({3, 1}, {1, 3, 1});
  const Tensor updates = Floats({3}, {10, 20, 30});
  ExpectEqual(OpTest("ScatterND").Run({data, at, updates}), Floats({4}, {1, 30, 3, 20}));
  ExpectEqual(OpTest("ScatterND").String("reduction", "add").Run({data, at, updates}),
              Floats({4}, {1, 42, 3, 24}));
  ExpectEqual(OpTest("ScatterND").String("reduction", "mul").Run({data, at, updates}),
              Floats({4}, {1, 600, 3, 80}));
  ExpectEqual(OpTest("ScatterND").String("reduction", "min").Run({data, at, updates}), data);
  ExpectEqual(OpTest("ScatterND").String("reduction", "max").Run({data, at, updates}),
              Floats({4}, {1, 30, 3, 20}));
}

TEST(ScatterNd, LeavesASharedInputAlone) {
  const Tensor data = Floats({2}, {1, 2});
  (void)OpTest("ScatterND").Run({data, Int64s({1, 1}, {0}), Floats({1}, {9})});
  ExpectEqual(data, Floats({2}, {1, 2}));
}

TEST(ScatterElements, UndoesGatherElements) {
  const Tensor data = Floats({2, 3}, {1, 2, 3, 4, 5, 6});
  const Tensor at = Int64s({2, 3}, {2, 0, 1, 1, 2, 0});
  const Tensor taken = OpTest("GatherElements").Int("axis", 1).Run({data, at});
  const Tensor zeros = Tensor::Filled({2, 3}, 0.0f);
  ExpectEqual(OpTest("ScatterElements").Int("axis", 1).Run({zeros, at, taken}), data);
  ExpectEqual(OpTest("Scatter", 9).Int("axis", -1).Run({zeros, at, taken}), data);
  EXPECT_THROW((void)OpTest("ScatterElements").Run({zeros, at, taken}), InputError);
}

}  // namespace
}  // namespace ptq::testing
