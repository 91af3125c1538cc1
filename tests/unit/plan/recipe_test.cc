// How a recipe overrides its preset.
#include "ptq/plan/recipe.h"

#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

TEST(Recipe, OverridesOnePartOfThePreset) {
  Recipe recipe;
  recipe.method = "rtn";
  recipe.grid = "clip";
  EXPECT_EQ(MethodOf(recipe).grid, "clip");
  EXPECT_EQ(MethodOf(recipe).scaling, "none");
  recipe.method = "nobody";
  EXPECT_THROW((void)MethodOf(recipe), UsageError);
}

TEST(Precision, HasTheNamesOfTheCommandLine) {
  EXPECT_EQ(PrecisionName(Precision::kHalf), "fp16");
  EXPECT_EQ(PrecisionName(Precision::kInt8), "int8");
  EXPECT_EQ(PrecisionName(Precision::kInt4), "int4");
  EXPECT_EQ(PrecisionName(Precision::kKeep), "keep");
}

}  // namespace
}  // namespace ptq
