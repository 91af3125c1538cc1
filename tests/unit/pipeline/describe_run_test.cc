// What the metadata takes from the recipe, the plan and the outcomes.
#include "describe_run.h"

#include "support/model_builder.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/runtime/executor.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;

TEST(DescribeRun, TellsTheSourceTheRecipeAndEveryLinear) {
  const Model model = testing::ToyDecoder(1).Build();
  const Graph graph(model);
  const Executor executor(graph);
  RunReport report;
  report.plan = MakePlan(executor.plan(), {});
  report.outcomes.resize(report.plan.linears.size());
  report.tables.resize(report.plan.tables.size());
  report.constants.resize(report.plan.constants.size());
  report.outcomes[2].bytes_after = 77;
  report.notes = {"a note"};
  report.warnings = {"a warning"};
  Recipe recipe;
  recipe.method = "gptq";
  SourceDescription source;
  source.sha256 = "abc";
  const Metadata metadata = DescribeRun(recipe, graph, source, {{"samples", 3}}, report);
  EXPECT_EQ(metadata.recipe.at("method"), "gptq");
  EXPECT_EQ(metadata.calibration.at("samples"), 3);
  EXPECT_EQ(metadata.source.sha256, "abc");
  EXPECT_THAT(metadata.notes, ElementsAre("a note", "a warning"));
  ASSERT_EQ(metadata.linears.size(), 8u);
  EXPECT_EQ(metadata.linears[2].name, report.plan.linears[2].name);
  EXPECT_EQ(metadata.linears[2].outcome.bytes_after, 77);
  EXPECT_FALSE(metadata.verification.has_value());
}

}  // namespace
}  // namespace ptq
