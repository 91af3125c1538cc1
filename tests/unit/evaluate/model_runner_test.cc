// A model whose output is not of one text is refused.
#include "ptq/evaluate/model_runner.h"

#include "support/model_builder.h"
#include "support/temp_directory.h"
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

TEST(ModelRunner, RefusesAnOutputThatIsNotOfOneText) {
  const testing::TempDirectory directory;
  testing::GraphBuilder b;
  b.Input("input_ids", {-1, -1}, DType::kInt64);
  b.Weight("table", Tensor::From<float>({2, 2}, {3, 4, -3, 4}));
  b.Op("Gather", {"table", "input_ids"}, "states");
  b.Op("Transpose", {"states"}, "turned").Ints("perm", {1, 0, 2}).Output("turned", {-1, -1, 2});
  const ModelRunner model(directory.Write("model.onnx", b.Bytes()));
  EXPECT_THROW((void)model.Run({0, 1, 1}), UnsupportedError);
}

}  // namespace
}  // namespace ptq
