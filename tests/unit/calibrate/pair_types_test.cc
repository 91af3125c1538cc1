// token_type_ids come from the sample that a row of ids is the beginning of.
#include "ptq/calibrate/pair_types.h"

#include "support/model_builder.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ptq {
namespace {

using ::testing::ElementsAre;
using Ids = std::vector<int64_t>;

Ids TypesFor(const Ids& ids, int64_t batch, int64_t length, const char* input = "token_type_ids") {
  testing::GraphBuilder b;
  b.Input("input_ids", {-1, -1}, DType::kInt64).Input(input, {-1, -1}, DType::kInt64);
  b.Op("Add", {"input_ids", input}, "sum").Output("sum", {-1, -1}, DType::kInt64);
  const Model model = b.Build();
  const Graph graph(model);
  CalibrationSet set;
  set.ids = {{5, 6, 7, 8}, {5, 6, 9}, {1, 2}};
  set.types = {{0, 0, 1, 1}, {0, 1, 1}, {}};
  const InputSource source = WithPairTypes({}, graph, set);
  if (!source) return {};
  const auto inputs = source(ids, batch, length);
  const auto data = inputs.at(input).data<int64_t>();
  return {data.begin(), data.end()};
}

TEST(WithPairTypes, GivesEachRowThoseOfItsSample) {
  EXPECT_THAT(TypesFor({5, 6, 7, 8}, 1, 4), ElementsAre(0, 0, 1, 1));
  EXPECT_THAT(TypesFor({5, 6, 9, 1, 2, 0}, 2, 3), ElementsAre(0, 1, 1, 0, 0, 0));
}

TEST(WithPairTypes, KnowsPartsOfSamplesAndPaddedOnes) {
  EXPECT_THAT(TypesFor({5, 6, 7}, 1, 3), ElementsAre(0, 0, 1));
  EXPECT_THAT(TypesFor({5, 6, 9, 0, 0}, 1, 5), ElementsAre(0, 1, 1, 0, 0));
  EXPECT_THAT(TypesFor({4, 4}, 1, 2), ElementsAre(0, 0));
}

TEST(WithPairTypes, LeavesModelsWithoutSuchAnInputAlone) {
  EXPECT_TRUE(TypesFor({5, 6}, 1, 2, "others").empty());
  EXPECT_THAT(TypesFor({5, 6, 9}, 1, 3, "segment_ids"), ElementsAre(0, 1, 1));
}

}  // namespace
}  // namespace ptq
