// Rows of constants behind random chains of operators, which are run to compare.
#include "ptq/runtime/stored_matrix.h"

#include <string>
#include <vector>

#include "random_chain.h"
#include <gtest/gtest.h>

#include "ptq/runtime/executor.h"

namespace ptq {
namespace {

TEST(FindStoredRows, GivesTheRowsOfWhateverItFinds) {
  int found = 0;
  for (uint32_t seed = 1; seed <= 500; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const testing::RandomChain chain(seed);
    const Model model = chain.builder().Build();
    const Graph graph(model);
    const ValueId id = graph.Find(chain.Last());
    const Tensor folded = Executor(graph).LoadConstant(id);
    if (folded.rank() < 2) continue;
    for (const bool transposed : {false, true}) {
      const auto rows = FindStoredRows(graph, id, transposed);
      if (!rows.has_value() || (transposed && folded.rank() > 3)) continue;
      ++found;
      const int64_t cols = folded.dim(transposed ? -2 : -1);
      ASSERT_EQ(rows->cols(), cols);
      ASSERT_EQ(rows->rows() * cols, folded.size());
      const int64_t n = folded.dim(transposed ? -1 : -2);
      std::vector<float> buffer;
      const float* got = rows->Get(0, rows->rows(), buffer);
      for (int64_t r = 0; r < rows->rows(); ++r) {
        for (int64_t c = 0; c < cols; ++c) {
          const int64_t at = transposed ? r / n * n * cols + c * n + r % n : r * cols + c;
          ASSERT_EQ(got[r * cols + c], folded.data<float>()[size_t(at)]) << r << ", " << c;
        }
      }
    }
  }
  EXPECT_GT(found, 200);
}

}  // namespace
}  // namespace ptq
