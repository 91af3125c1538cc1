// The rows of linears, and which weights no codes can stand for.
#include "ptq/search/weight_rows.h"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "support/model_builder.h"
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using testing::GraphBuilder;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinite = std::numeric_limits<float>::infinity();

/// A table, filters and a linear [8, 4] that is stored as [4, 8].
struct RowsFixture {
  explicit RowsFixture(const std::string& spoiled = "", float value = 0)
      : model(Built(spoiled, value).Build()), graph(model), executor(graph) {
    Table table;
    SetCodes(table, "table", 6, 4);
    table.operand = table.stored;
    plan.tables.push_back(table);
    Constant filters;
    SetCodes(filters, "filters", 2, 3);
    plan.constants.push_back(filters);
    Linear linear;
    SetCodes(linear, "weight", 8, 4);
    linear.operand = linear.part = linear.stored;
    plan.linears.push_back(linear);
  }
  static GraphBuilder Built(const std::string& spoiled, float value) {
    GraphBuilder b;
    const auto weight = [&](const std::string& name, const Shape& shape) {
      Tensor tensor = testing::RandomTensor(shape, 1.0f, 3);
      if (name == spoiled) tensor.mutable_data<float>().back() = value;
      b.Weight(name, tensor);
    };
    weight("table", {6, 4});
    weight("filters", {2, 1, 3});
    weight("weight", {4, 8});
    b.Input("ids", {2}, DType::kInt64).Op("Gather", {"table", "ids"}, "x");
    b.Op("MatMul", {"x", "weight"}, "y").Output("y", {2, 8});
    b.Input("signal", {1, 1, 9}).Op("Conv", {"signal", "filters"}, "z").Output("z", {1, 2, 7});
    return b;
  }
  void SetCodes(Subject& subject, const std::string& name, int64_t n, int64_t k) const {
    subject.name = name;
    subject.stored = graph.Find(name);
    subject.n = n;
    subject.k = k;
    subject.decision.form = &UnwrittenCodes();
  }
  Model model;
  Graph graph;
  Executor executor;
  Plan plan;
};

TEST(WeightRows, TurnsAWeightThatIsStoredByColumns) {
  const RowsFixture f;
  const MatrixRows rows = WeightRows(f.executor, f.plan.linears[0]);
  ASSERT_EQ(rows.rows(), 8);
  ASSERT_EQ(rows.cols(), 4);
  const Tensor stored = f.executor.LoadConstant(f.plan.linears[0].stored);
  std::vector<float> buffer;
  const float* const w = rows.Get(0, 8, buffer);
  for (int64_t n = 0; n < 8; ++n) {
    for (int64_t k = 0; k < 4; ++k) {
      EXPECT_EQ(w[n * 4 + k], stored.data<float>()[size_t(k * 8 + n)]);
    }
  }
}

TEST(CheckFiniteWeights, TakesFiniteOnesAsFarAsScalesReach) {
  CheckFiniteWeights(RowsFixture().executor, RowsFixture().plan);
  const RowsFixture f("weight", 1e36f);
  CheckFiniteWeights(f.executor, f.plan);
  const RowsFixture too_large("weight", std::numeric_limits<float>::max());
  EXPECT_THROW(CheckFiniteWeights(too_large.executor, too_large.plan), InputError);
}

TEST(CheckFiniteWeights, NamesTheWeightWithAValueThatIsNoNumber) {
  for (const char* name : {"table", "filters", "weight"}) {
    for (const float value : {kNan, kInfinite, -kInfinite}) {
      const RowsFixture f(name, value);
      try {
        CheckFiniteWeights(f.executor, f.plan);
        ADD_FAILURE() << name;
      } catch (const InputError& error) {
        EXPECT_NE(std::string(error.what()).find("'" + std::string(name) + "'"), std::string::npos);
      }
    }
  }
}

TEST(CheckFiniteWeights, LetsBeWhatStaysAsItIs) {
  RowsFixture f("weight", kNan);
  f.plan.linears[0].decision.form = &KeepForm();
  CheckFiniteWeights(f.executor, f.plan);
}

}  // namespace
}  // namespace ptq
