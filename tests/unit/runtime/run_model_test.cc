// Which arrays are taken as inputs, and in which types outputs come.
#include "ptq/runtime/run_model.h"

#include "support/model_builder.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

class RunModelTest : public ::testing::Test {
 protected:
  RunModelTest() : model_(Builder().Build()), graph_(model_), executor_(graph_) {}
  static testing::GraphBuilder Builder() {
    testing::GraphBuilder b;
    b.Input("x", {-1, 2}, DType::kFloat16).Op("Relu", {"x"}, "y");
    b.Output("y", {-1, 2}, DType::kFloat16);
    return b;
  }
  static Tensor Half(Shape shape) {
    return Tensor::Filled<float>(std::move(shape), -1.0f).Cast(DType::kFloat16);
  }
  Model model_;
  Graph graph_;
  Executor executor_;
};

TEST_F(RunModelTest, ReturnsOutputsInTheirDeclaredType) {
  const auto outputs = RunModel(executor_, {{"x", Half({3, 2})}});
  EXPECT_EQ(outputs.at("y").dtype(), DType::kFloat16);
  EXPECT_EQ(outputs.at("y").shape(), (Shape{3, 2}));
  EXPECT_EQ(outputs.at("y").ToFloat32().data<float>()[5], 0.0f);
}

TEST_F(RunModelTest, RefusesMissingAndUnknownNames) {
  EXPECT_THROW((void)RunModel(executor_, {}), InputError);
  EXPECT_THROW((void)RunModel(executor_, {{"x", Half({1, 2})}, {"more", Half({1})}}), InputError);
}

TEST_F(RunModelTest, RefusesOtherTypesRanksAndDimensions) {
  EXPECT_THROW((void)RunModel(executor_, {{"x", Half({1, 2}).ToFloat32()}}), InputError);
  EXPECT_THROW((void)RunModel(executor_, {{"x", Half({2})}}), InputError);
  EXPECT_THROW((void)RunModel(executor_, {{"x", Half({1, 3})}}), InputError);
}

}  // namespace
}  // namespace ptq
