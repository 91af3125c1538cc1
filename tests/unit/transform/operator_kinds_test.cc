// The families of operators, by what a conversion to FP16 may do with them.
#include "half/operator_kinds.h"

#include <gtest/gtest.h>

namespace ptq {
namespace {

TEST(OperatorKinds, TellArithmeticFromMoving) {
  for (const char* type : {"Add", "Mul", "Pow", "Where", "Sigmoid", "Reshape", "Concat"}) {
    EXPECT_NE(IsElementwise(type), MovesElements(type)) << type;
  }
  EXPECT_TRUE(IsElementwise("Sigmoid"));
  EXPECT_TRUE(MovesElements("Where"));
}

TEST(OperatorKinds, HoldProductsAndNormsForNeither) {
  for (const char* type : {"MatMul", "Gemm", "Conv", "Softmax", "LayerNormalization", "", "Foo"}) {
    EXPECT_FALSE(IsElementwise(type)) << type;
    EXPECT_FALSE(MovesElements(type)) << type;
    EXPECT_FALSE(IsReduction(type)) << type;
  }
}

TEST(OperatorKinds, CountSumsAsReductionsButNotExtremes) {
  for (const char* type : {"ReduceMean", "ReduceSum", "ReduceL2", "CumSum"}) {
    EXPECT_TRUE(IsReduction(type)) << type;
  }
  // The largest of halves is one of them.
  EXPECT_FALSE(IsReduction("ReduceMax"));
  EXPECT_FALSE(IsReduction("ReduceMin"));
}

TEST(OperatorKinds, EndAMaskWhereItsSizeNoLongerCounts) {
  for (const char* type : {"Softmax", "Exp", "Attention", "Less", "Sigmoid"}) {
    EXPECT_TRUE(EndsMask(type)) << type;
  }
  for (const char* type : {"Add", "Where", "MatMul", "Tanh"}) EXPECT_FALSE(EndsMask(type)) << type;
}

}  // namespace
}  // namespace ptq
