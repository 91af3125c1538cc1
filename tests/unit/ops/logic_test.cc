// Comparisons, boolean and bitwise operators, tests for NaN and infinity, and Where.
#include <cmath>

#include "support/kernel_testing.h"

namespace ptq::testing {
namespace {

TEST(Comparison, WorksOnFloatsIntegersAndBooleans) {
  const Tensor a = Floats({3}, {1, 2, NAN});
  const Tensor b = Floats({3}, {1, 1, NAN});
  ExpectEqual(OpTest("Equal").Run({a, b}), Bools({3}, {true, false, false}));
  ExpectEqual(OpTest("Greater").Run({a, b}), Bools({3}, {false, true, false}));
  ExpectEqual(OpTest("GreaterOrEqual").Run({a, b}), Bools({3}, {true, true, false}));
  ExpectEqual(OpTest("Less").Run({Int64s({2}, {1, 5}), Int64s({}, {3})}),
              Bools({2}, {true, false}));
  ExpectEqual(OpTest("LessOrEqual").Run({Int64s({2, 1}, {0, 1}), Int64s({2}, {0, 1})}),
              Bools({2, 2}, {true, true, false, true}));
  ExpectEqual(OpTest("Equal").Run({Bools({2}, {true, false}), Bools({}, {false})}),
              Bools({2}, {false, true}));
}

TEST(Logic, FollowsTheTruthTables) {
  const Tensor a = Bools({4}, {false, false, true, true});
  const Tensor b = Bools({4}, {false, true, false, true});
  ExpectEqual(OpTest("And").Run({a, b}), Bools({4}, {false, false, false, true}));
  ExpectEqual(OpTest("Or").Run({a, b}), Bools({4}, {false, true, true, true}));
  ExpectEqual(OpTest("Xor").Run({a, b}), Bools({4}, {false, true, true, false}));
  ExpectEqual(OpTest("Not").Run({a}), Bools({4}, {true, true, false, false}));
}

TEST(Logic, ActsOnTheBitsOfIntegers) {
  const Tensor a = Int64s({2}, {12, -1});
  const Tensor b = Int64s({2}, {10, 5});
  ExpectEqual(OpTest("BitwiseAnd").Run({a, b}), Int64s({2}, {8, 5}));
  ExpectEqual(OpTest("BitwiseOr").Run({a, b}), Int64s({2}, {14, -1}));
  ExpectEqual(OpTest("BitwiseXor").Run({a, b}), Int64s({2}, {6, -6}));
  ExpectEqual(OpTest("BitwiseNot").Run({a}), Int64s({2}, {-13, 0}));
}

TEST(FloatTests, TellNanFromInfinity) {
  const Tensor x = Floats({4}, {NAN, kInfinity, -kInfinity, 1});
  ExpectEqual(OpTest("IsNaN").Run({x}), Bools({4}, {true, false, false, false}));
  ExpectEqual(OpTest("IsInf").Run({x}), Bools({4}, {false, true, true, false}));
  ExpectEqual(OpTest("IsInf").Int("detect_negative", 0).Run({x}),
              Bools({4}, {false, true, false, false}));
  ExpectEqual(OpTest("IsInf").Int("detect_positive", 0).Run({x}),
              Bools({4}, {false, false, true, false}));
}

TEST(Where, BroadcastsAllThreeOperands) {
  ExpectEqual(
      OpTest("Where").Run({Bools({2, 1}, {true, false}), Floats({3}, {1, 2, 3}), Floats({}, {-1})}),
      Floats({2, 3}, {1, 2, 3, -1, -1, -1}));
  ExpectEqual(OpTest("Where").Run({Bools({2}, {true, false}), Int64s({2, 2}, {1, 2, 3, 4}),
                                   Int64s({2, 1}, {7, 8})}),
              Int64s({2, 2}, {1, 7, 3, 8}));
  ExpectEqual(
      OpTest("Where").Run({Bools({2}, {true, false}), Bools({}, {false}), Bools({}, {true})}),
      Bools({2}, {false, true}));
}

TEST(Where, MasksRowsInPlace) {
  // The causal mask of an attention: [1, 1, T, T] chooses between scores and one large negative.
  const Tensor mask = Bools({1, 1, 2, 2}, {true, false, true, true});
  ExpectEqual(
      OpTest("Where").Run({mask, Floats({1, 2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8}), Floats({}, {-9})}),
      Floats({1, 2, 2, 2}, {1, -9, 3, 4, 5, -9, 7, 8}));
}

}  // namespace
}  // namespace ptq::testing
