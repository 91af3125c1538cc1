#include "ptq/pipeline/recipe.h"

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

TEST(Recipe, NamesTheDestinationAfterWhatItDoes) {
  Recipe recipe;
  recipe.source = "/models/toy/model.onnx";
  EXPECT_EQ(DefaultDestination(recipe), "/models/toy-awq_w4_g128_headfp16");
  recipe.source = "/models/toy.onnx";
  recipe.method = "rtn";
  recipe.bits = 8;
  recipe.group_size = 0;
  recipe.symmetric = false;
  recipe.head = HeadForm::kKeep;
  EXPECT_EQ(DefaultDestination(recipe), "/models/toy-rtn_w8_channel_asym");
  recipe.bits = 3;
  EXPECT_EQ(DefaultDestination(recipe), "/models/toy-rtn_w3_channel_asym");
}

TEST(HeadForm, HasTheNamesOfTheCommandLine) {
  EXPECT_EQ(HeadFormName(HeadForm::kHalf), "fp16");
  EXPECT_EQ(HeadFormName(HeadForm::kInt8), "int8");
  EXPECT_EQ(HeadFormName(HeadForm::kInt4), "int4");
  EXPECT_EQ(HeadFormName(HeadForm::kKeep), "keep");
}

}  // namespace
}  // namespace ptq
