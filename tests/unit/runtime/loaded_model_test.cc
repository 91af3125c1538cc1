// Models that are run often, with their constants held or widened as they are used.
#include "ptq/runtime/loaded_model.h"

#include "support/model_builder.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ptq {
namespace {

using ::testing::FloatNear;
using ::testing::Pointwise;

/// ids -> rows of a table, a product, and one by a transposed weight; constants of one type.
class LoadedModelTest : public ::testing::Test {
 protected:
  static Model Build(DType dtype) {
    testing::GraphBuilder b;
    b.Input("ids", {-1}, DType::kInt64);
    uint32_t seed = 0;
    for (const char* const name : {"table", "w", "v"}) {
      b.Weight(name, testing::RandomTensor({16, 16}, 0.5f, ++seed).Cast(dtype));
    }
    b.Op("Gather", {"table", "ids"}, "x").Op("MatMul", {"x", "w"}, "y");
    b.Op("Transpose", {"v"}, "turned").Ints("perm", {1, 0}).Op("MatMul", {"y", "turned"}, "z");
    b.Output("z", {-1, 16}, dtype);
    return b.Build();
  }

  static Tensor Run(const LoadedModel& loaded, const Graph& graph) {
    const Tensor ids = Tensor::From<int64_t>({3}, {5, 0, 15});
    return loaded.Run({{graph.Find("ids"), ids}}).at(graph.Find("z"));
  }
};

TEST_F(LoadedModelTest, GivesTheSameWithoutHoldingWhatHasNoRoom) {
  const Model model = Build(DType::kFloat16);
  const Graph graph(model);
  const Executor executor(graph);
  constexpr int64_t kBytes = 3 * 16 * 16 * 4;
  const LoadedModel held(executor, graph.graph_outputs(), kBytes);
  const LoadedModel lean(executor, graph.graph_outputs(), kBytes - 1);
  EXPECT_TRUE(held.holds_constants());
  EXPECT_FALSE(lean.holds_constants());
  const Tensor expected = Run(held, graph), found = Run(lean, graph);
  EXPECT_THAT(found.data<float>(), Pointwise(FloatNear(1e-5f), expected.data<float>()));
}

TEST_F(LoadedModelTest, HoldsWhatLiesInTheFileAsItIs) {
  const Model model = Build(DType::kFloat32);
  const Graph graph(model);
  const Executor executor(graph);
  EXPECT_TRUE(LoadedModel(executor, graph.graph_outputs(), 1).holds_constants());
}

TEST_F(LoadedModelTest, HasTheMachinesMemoryUnlessItIsToldOtherwise) {
  const Model model = Build(DType::kFloat16);
  const Graph graph(model);
  const Executor executor(graph);
  EXPECT_TRUE(LoadedModel(executor, graph.graph_outputs()).holds_constants());
}

}  // namespace
}  // namespace ptq
