// Which stored tensors are tables and which are other constants, and which may change their type.
#include "find_tensors.h"

#include <string>
#include <vector>

#include "support/model_builder.h"
#include "support/planned.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ptq {
namespace {

using ::testing::ElementsAre;
using testing::GraphBuilder;
using ::testing::IsEmpty;

template <class Subjects>
std::vector<std::string> Names(const Subjects& subjects) {
  std::vector<std::string> names;
  for (const auto& subject : subjects) names.push_back(subject.name);
  return names;
}

/// An embedding whose rows are scaled, multiplied with a weight, and given a bias.
GraphBuilder Embedded() {
  GraphBuilder b(17);
  b.Input("ids", {3}, DType::kInt64).Random("embed.weight", {50, 16}).Random("gain", {16});
  b.Random("one", {1}).Random("proj.weight", {16, 16}).Random("bias", {16});
  b.Op("Gather", {"embed.weight", "ids"}, "rows").Op("Mul", {"rows", "gain"}, "scaled");
  b.Op("Mul", {"scaled", "one"}, "x").Op("MatMul", {"x", "proj.weight"}, "p");
  b.Op("Add", {"p", "bias"}, "y").Output("y", {3, 16});
  return b;
}

TEST(FindTensors, TellsTablesFromOtherConstants) {
  const testing::Planned planned(Embedded());
  EXPECT_THAT(Names(planned.plan.tables), ElementsAre("embed"));
  EXPECT_THAT(Names(planned.plan.constants), ElementsAre("gain", "bias"));
  const Table& table = planned.plan.tables.front();
  EXPECT_EQ(table.n, 50);
  EXPECT_EQ(table.k, 16);
  EXPECT_EQ(table.decision.bytes, 50 * 16 * 4);
  EXPECT_TRUE(table.decision.keeps());
  EXPECT_THAT(HalvedValues(planned.plan), IsEmpty());
}

TEST(FindTensors, EverythingElseBecomesHalfWhereFloatsDo) {
  PlanOptions options;
  options.half_floats = true;
  const testing::Planned planned(Embedded(), options);
  EXPECT_EQ(HalvedValues(planned.plan).size(), 3u);
  EXPECT_EQ(planned.plan.tables.front().decision.bytes, 50 * 16 * 2);
  EXPECT_TRUE(planned.plan.linears.front().decision.quantizes());
}

TEST(FindTensors, FloatsOfAQuantizedWeightThatSomebodyReadsAreAConstant) {
  GraphBuilder b(17);
  b.Input("x", {3, 16}).Random("w", {16, 16});
  b.Op("MatMul", {"x", "w"}, "p").Op("ReduceSum", {"w"}, "s").Op("Add", {"p", "s"}, "y");
  b.Output("y", {3, 16});
  const testing::Planned planned(b);
  EXPECT_TRUE(planned.plan.linears.front().decision.quantizes());
  EXPECT_THAT(Names(planned.plan.constants), ElementsAre("w"));
}

TEST(FindTensors, AStackOfWhichEachLinearTakesOneMatrixIsNoTable) {
  GraphBuilder b(17);
  b.Input("x", {3, 16}).Random("stack", {2, 16, 16});
  b.Weight("first", Tensor::Scalar<int64_t>(0)).Weight("second", Tensor::Scalar<int64_t>(1));
  b.Op("Gather", {"stack", "first"}, "w0").Op("Gather", {"stack", "second"}, "w1");
  b.Op("MatMul", {"x", "w0"}, "y0").Op("MatMul", {"x", "w1"}, "y1");
  b.Output("y0", {3, 16}).Output("y1", {3, 16});
  const testing::Planned planned(b);
  ASSERT_EQ(planned.plan.linears.size(), 2u);
  EXPECT_TRUE(planned.plan.linears.front().decision.quantizes());
  EXPECT_THAT(Names(planned.plan.tables), IsEmpty());
  EXPECT_THAT(Names(planned.plan.constants), IsEmpty());  // its floats do not stay
}

TEST(MayChangeType, NotWhereAnOperatorNeedsItsConstantInPlaceOrNobodyKnowsTheOperator) {
  GraphBuilder b(21);
  b.Input("x", {2, 2}).Weight("scale", Tensor::From<float>({2}, {1, 2}));
  b.Random("v", {2}).Random("w", {2});
  b.Op("QuantizeLinear", {"x", "scale"}, "y").Output("y", {2, 2}, DType::kUint8);
  b.Op("Add", {"x", "v"}, "z").Op("Strange", {"z", "w"}, "u").Domain("my.domain");
  b.Import("my.domain", 1).Output("u", {2, 2});
  const Model model = b.Build();
  const Graph graph(model);
  EXPECT_FALSE(MayChangeType(graph, graph.Find("scale")));
  EXPECT_TRUE(MayChangeType(graph, graph.Find("v")));
  EXPECT_FALSE(MayChangeType(graph, graph.Find("w")));
}

}  // namespace
}  // namespace ptq
