// Where the stages of a segment end, and what they tap.
#include "ptq/calibrate/stages.h"

#include <set>

#include "support/model_builder.h"
#include <gtest/gtest.h>

#include "ptq/plan/plan.h"
#include "ptq/runtime/executor.h"

namespace ptq {
namespace {

class StagesTest : public ::testing::Test {
 protected:
  StagesTest()
      : model_(testing::ToyDecoder(2).Build()),
        graph_(model_),
        executor_(graph_),
        plan_(MakePlan(executor_.plan(), {})) {}

  [[nodiscard]] Stages Divide(Division division) const {
    return DivideIntoStages(executor_.plan(), plan_, std::vector<bool>(plan_.sites.size()),
                            division);
  }

  Model model_;
  Graph graph_;
  Executor executor_;
  Plan plan_;
};

TEST_F(StagesTest, TakesASegmentAsAWhole) {
  const Stages stages = Divide(Division::kWhole);
  ASSERT_EQ(stages.size(), executor_.plan().segments().size());
  size_t sites = 0;
  for (size_t i = 0; i < stages.size(); ++i) {
    ASSERT_EQ(stages[i].size(), 1u);
    EXPECT_TRUE(stages[i][0].advances);
    EXPECT_FALSE(stages[i][0].inner);
    EXPECT_EQ(stages[i][0].range.begin, executor_.plan().segments()[i].begin);
    EXPECT_EQ(stages[i][0].range.end, executor_.plan().segments()[i].end);
    EXPECT_EQ(stages[i][0].taps.size(), stages[i][0].sites.size());
    sites += stages[i][0].sites.size();
  }
  EXPECT_EQ(sites, plan_.sites.size());
}

TEST_F(StagesTest, StopsInFrontOfTheLinearsOfEachSite) {
  for (const Division division : {Division::kLockstep, Division::kRerun}) {
    const Stages stages = Divide(division);
    std::set<size_t> seen;
    for (size_t i = 0; i < stages.size(); ++i) {
      const Segment& segment = executor_.plan().segments()[i];
      int at = segment.begin;
      for (const Stage& stage : stages[i]) {
        const bool last = &stage == &stages[i].back();
        EXPECT_EQ(stage.range.begin, at);
        EXPECT_EQ(stage.advances, last || division == Division::kLockstep);
        EXPECT_EQ(stage.inner, !last);
        EXPECT_EQ(stage.sites.empty(), last);
        if (stage.advances) at = stage.range.end;
        for (const size_t site : stage.sites) {
          EXPECT_TRUE(seen.insert(site).second);
          for (const int linear : plan_.sites[site].linears) {
            EXPECT_GE(plan_.linears[size_t(linear)].node, stage.range.end);
          }
        }
      }
      EXPECT_EQ(at, segment.end);
    }
    EXPECT_EQ(seen.size(), plan_.sites.size());
  }
}

TEST_F(StagesTest, DoesNotObserveWhatIsTaken) {
  std::vector<bool> taken(plan_.sites.size());
  taken[0] = true;
  const Stages stages = DivideIntoStages(executor_.plan(), plan_, taken, Division::kLockstep);
  for (const std::vector<Stage>& segment : stages) {
    for (const Stage& stage : segment) {
      EXPECT_EQ(stage.taps.contains(plan_.sites[0].value), false);
    }
  }
}

}  // namespace
}  // namespace ptq
