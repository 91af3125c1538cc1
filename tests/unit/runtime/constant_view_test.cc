// Views of constants behind random chains of operators, which are run to compare.
#include "ptq/model/constant_view.h"

#include <string>

#include "random_chain.h"
#include <gtest/gtest.h>

#include "ptq/runtime/executor.h"

namespace ptq {
namespace {

TEST(ConstantView, TellsShapesAndPlacesOfRandomChains) {
  int placed = 0;
  for (uint32_t seed = 1; seed <= 500; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const testing::RandomChain chain(seed);
    const Model model = chain.builder().Build();
    const Graph graph(model);
    const Executor executor(graph);
    const ValueId id = graph.Find(chain.Last());
    const Tensor folded = executor.LoadConstant(id);  // by the operators themselves
    const auto view = ViewConstant(graph, id);
    ASSERT_TRUE(view.has_value());
    ASSERT_EQ(view->shape, folded.shape());
    ASSERT_EQ(view->stored, graph.Find("w0"));
    if (!view->placement.has_value()) continue;
    ++placed;
    const Tensor stored = executor.LoadConstant(view->stored);
    const auto own = RowMajorStrides(view->shape);
    for (int64_t i = 0; i < folded.size(); ++i) {
      int64_t at = view->placement->offset;
      for (size_t d = 0; d < own.size(); ++d) {
        at += i / own[d] % view->shape[d] * view->placement->strides[d];
      }
      ASSERT_EQ(folded.data<float>()[size_t(i)], stored.data<float>()[size_t(at)]) << i;
    }
  }
  EXPECT_GT(placed, 300);
}

}  // namespace
}  // namespace ptq
