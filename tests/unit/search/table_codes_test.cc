// The codes of a table: no worse than rounding to nearest, the same in any pieces, and what they
// stand for in the graph.
#include "ptq/search/table_codes.h"

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "support/model_builder.h"
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/quant/method.h"

namespace ptq {
namespace {

using testing::GraphBuilder;

constexpr int64_t kTableRows = 1100;
constexpr int64_t kTableCols = 40;

/// A table whose rows are looked up, and which gives the logits.
GraphBuilder Tied() {
  GraphBuilder b(17);
  Tensor table = testing::RandomTensor({kTableRows, kTableCols}, 1.0f, 7);
  auto values = table.mutable_data<float>();
  for (size_t i = 0; i < values.size(); i += 37) values[i] *= 6;  // outliers
  b.Input("ids", {3}, DType::kInt64).Weight("embed.weight", table).Random("w.weight", {40, 40});
  b.Op("Gather", {"embed.weight", "ids"}, "rows").Op("MatMul", {"rows", "w.weight"}, "x");
  b.Op("Transpose", {"embed.weight"}, "turned").Ints("perm", {1, 0});
  b.Op("MatMul", {"x", "turned"}, "logits").Output("logits", {3, kTableRows});
  return b;
}

struct Fixture {
  explicit Fixture(const QuantSpec& spec) : model(Tied().Build()), graph(model) {
    table.name = "embed";
    table.n = kTableRows;
    table.k = kTableCols;
    table.stored = table.operand = graph.Find("embed.weight");
    table.decision.form = &UnwrittenCodes();
    table.decision.parameters.spec = spec;
    for (size_t i = 0; i < graph.nodes().size(); ++i) {
      if (graph.nodes()[i].op_type() == "Gather") table.lookups.push_back(int(i));
    }
  }
  Model model;
  Graph graph;
  Table table;
};

std::vector<float> Values(const QuantizedMatrix& q) {
  std::vector<float> values(size_t(q.n * q.k));
  q.Dequantize(values.data());
  return values;
}

TEST(TableCodes, EveryRowIsAtLeastAsNearAsRoundedToNearest) {
  for (const int bits : {2, 4, 8}) {
    for (const int64_t group : {0, 16, 32}) {
      for (const bool symmetric : {true, false}) {
        const Fixture f({bits, group, symmetric, ScaleType::kFloat32});
        const Tensor weight = f.model.weights().Read(*f.graph.value(f.table.stored).constant);
        SiteProblem problem;
        problem.k = kTableCols;
        problem.linears = {{"w", MatrixRows(weight, false), f.table.spec()}};
        const auto nearest = Values(QuantizeSite(problem, Method()).linears[0].q);
        Outcome sums;
        const auto found = Values(TableCodes(f.graph, f.table).Rows(0, kTableRows, &sums));
        double all = 0, all_nearest = 0;
        for (int64_t r = 0; r < kTableRows; ++r) {
          double own = 0, other = 0;
          for (int64_t j = r * kTableCols; j < (r + 1) * kTableCols; ++j) {
            const double w = weight.data<float>()[size_t(j)];
            own += std::pow(found[size_t(j)] - w, 2);
            other += std::pow(nearest[size_t(j)] - w, 2);
          }
          EXPECT_LE(own, other * (1 + 1e-5)) << bits << " bits, row " << r;
          all += own;
          all_nearest += other;
        }
        EXPECT_NEAR(sums.loss_after, all, 1e-4 * all);
        EXPECT_NEAR(sums.loss_before, all_nearest, 1e-4 * all_nearest);
        if (bits < 8) {
          EXPECT_LT(sums.loss_after, 0.98 * sums.loss_before);
        }
      }
    }
  }
}

TEST(TableCodes, DoNotDependOnThePiecesTheyAreAskedForIn) {
  const Fixture f({4, 16, false, ScaleType::kFloat16});
  const TableCodes codes(f.graph, f.table);
  const QuantizedMatrix whole = codes.Rows(0, kTableRows);
  for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 1}, {17, 300}, {1099, 1100}}) {
    const QuantizedMatrix part = codes.Rows(begin, end);
    EXPECT_TRUE(
        std::equal(part.codes.begin(), part.codes.end(), whole.codes.begin() + begin * kTableCols));
    EXPECT_TRUE(
        std::equal(part.scales.begin(), part.scales.end(), whole.scales.begin() + begin * 3));
  }
}

TEST(TableCodes, StandForWhatLookupsAndLinearsRead) {
  Fixture f({8, 0, true, ScaleType::kFloat32});
  Plan plan;
  Linear head;
  head.operand = f.graph.Find("turned");
  head.table = 0;
  plan.linears = {head};
  f.table.linears = {0};
  plan.tables = {f.table};
  const DeferredWeights operands = TableOperands(f.graph, plan);
  ASSERT_EQ(operands.size(), 2u);
  const auto expected = Values(TableCodes(f.graph, f.table).Rows(0, kTableRows));
  const Tensor table = operands.at(f.table.operand)->Whole();
  const Tensor turned = operands.at(head.operand)->Whole();
  ASSERT_EQ(table.shape(), (Shape{kTableRows, kTableCols}));
  ASSERT_EQ(turned.shape(), (Shape{kTableCols, kTableRows}));
  std::vector<float> buffer;
  const float* row = operands.at(head.operand)->Rows(41, 42, buffer);
  for (int64_t j = 0; j < kTableCols; ++j) {
    const float value = expected[size_t(41 * kTableCols + j)];
    EXPECT_EQ(table.data<float>()[size_t(41 * kTableCols + j)], value);
    EXPECT_EQ(turned.data<float>()[size_t(j * kTableRows + 41)], value);
    EXPECT_EQ(row[j], value);
  }
}

TEST(TableCodes, NameATableThatIsNotFinite) {
  GraphBuilder b(17);
  Tensor table = testing::RandomTensor({4, 8}, 1.0f, 7);
  table.mutable_data<float>()[9] = std::nanf("");
  b.Input("ids", {3}, DType::kInt64).Weight("embed.weight", table);
  b.Op("Gather", {"embed.weight", "ids"}, "y").Output("y", {3, 8});
  const Model model = b.Build();
  const Graph graph(model);
  Table bad;
  bad.name = "embed";
  bad.stored = bad.operand = graph.Find("embed.weight");
  bad.decision.parameters.spec = {8, 0, true, ScaleType::kFloat32};
  const TableCodes codes(graph, bad);
  EXPECT_NO_THROW((void)codes.Rows(0, 1));
  EXPECT_THROW((void)codes.Rows(0, 4), InputError);
}

}  // namespace
}  // namespace ptq
