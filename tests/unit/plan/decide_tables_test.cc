// Which tables become codes, which are kept and why, and what a tied linear has of it.
#include <string>

#include "decide.h"
#include "support/model_builder.h"
#include "support/planned.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ptq {
namespace {

using testing::GraphBuilder;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Planned;

/// Codes that linears in them may read, too, as those of GatherBlockQuantized.
class ServingForm : public Form {
 public:
  [[nodiscard]] std::string_view name() const override { return "serving"; }
  [[nodiscard]] Storage storage() const override { return Storage::kCodes; }
  [[nodiscard]] bool Serves(const Form& other) const override {
    return &other == &UnwrittenCodes();
  }
  [[nodiscard]] std::string Refusal(const TensorFacts& tensor,
                                    const FormParameters& parameters) const override {
    return tensor.k * parameters.spec.bits % 8 == 0 ? "" : "odd";
  }
  [[nodiscard]] int64_t Bytes(const TensorFacts& tensor, const FormParameters&) const override {
    return tensor.n * tensor.k;
  }
};

const Form& Serving() {
  static const ServingForm form;
  return form;
}

PlanOptions Wanted(Precision embeddings, Precision head = Precision::kHalf) {
  PlanOptions options;
  options.embeddings = embeddings;
  options.head = head;
  options.table_codes = &Serving();
  options.parameters.spec.group_size = 32;
  return options;
}

/// ids -> rows of a table [n, k] -> one product.
GraphBuilder Embedded(int64_t n, int64_t k) {
  GraphBuilder b(17);
  b.Input("ids", {3}, DType::kInt64).Random("embed.weight", {n, k}).Random("w.weight", {k, k});
  b.Op("Gather", {"embed.weight", "ids"}, "rows").Op("MatMul", {"rows", "w.weight"}, "y");
  b.Output("y", {3, k});
  return b;
}

/// The same with logits by the table itself, as it is or turned.
GraphBuilder Tied(const std::string& way) {
  GraphBuilder b(17);
  b.Input("ids", {3}, DType::kInt64).Random("w.weight", {32, 32});
  b.Random("embed.weight", way == "stored turned" ? Shape{32, 1100} : Shape{1100, 32});
  std::string table = "embed.weight";
  if (way == "stored turned") b.Op("Transpose", {table}, "table").Ints("perm", {1, 0});
  if (way == "identity") b.Op("Identity", {table}, "table");
  b.Op("Gather", {way == "plain" ? table : "table", "ids"}, "rows");
  b.Op("MatMul", {"rows", "w.weight"}, "x");
  if (way != "stored turned") b.Op("Transpose", {table}, "turned").Ints("perm", {1, 0});
  b.Op("MatMul", {"x", way == "stored turned" ? table : "turned"}, "logits");
  b.Output("logits", {3, 1100});
  return b;
}

TEST(DecideTables, LargeOnesBecomeCodes) {
  const Planned planned(Embedded(1024, 32), Wanted(Precision::kInt4));
  const Table& table = planned.plan.tables.front();
  EXPECT_TRUE(table.decision.quantizes());
  EXPECT_EQ(table.spec().bits, 4);
  EXPECT_EQ(table.spec().group_size, 32);
  EXPECT_EQ(table.decision.reason, "");
  EXPECT_EQ(table.decision.bytes, 1024 * 32);
}

TEST(DecideTables, NobodyAsksForThemOfHimself) {
  const Planned planned(Embedded(1024, 32), Wanted(Precision::kKeep));
  EXPECT_TRUE(planned.plan.tables.front().decision.keeps());
  EXPECT_EQ(planned.plan.tables.front().decision.reason, "");
}

TEST(DecideTables, SmallOnesAreKept) {
  const Planned planned(Embedded(255, 32), Wanted(Precision::kInt8));
  EXPECT_TRUE(planned.plan.tables.front().decision.keeps());
  EXPECT_EQ(planned.plan.tables.front().decision.reason, "fewer than 256 rows");
}

TEST(DecideTables, EightBitsTakeThePlaceOfCodesThatDoNotFit) {
  const Planned planned(Embedded(1024, 33), Wanted(Precision::kInt4));
  EXPECT_EQ(planned.plan.tables.front().spec().bits, 8);
  EXPECT_EQ(planned.plan.tables.front().decision.reason, "odd");
}

TEST(DecideTables, Fp16IsForAllSizes) {
  const Planned planned(Embedded(50, 32), Wanted(Precision::kHalf));
  EXPECT_TRUE(planned.plan.tables.front().decision.halves());
}

TEST(DecideTables, OtherReadersOfTheFloatsKeepThem) {
  GraphBuilder b = Embedded(1024, 32);
  b.Op("ReduceSum", {"embed.weight"}, "sum").Output("sum", {});
  const Planned planned(b, Wanted(Precision::kInt8));
  EXPECT_TRUE(planned.plan.tables.front().decision.keeps());
  EXPECT_THAT(planned.plan.tables.front().decision.reason, HasSubstr("reads its floats"));
}

TEST(DecideTables, ColumnsAreNoRows) {
  GraphBuilder b(17);
  b.Input("ids", {3}, DType::kInt64).Random("embed.weight", {2000, 32}).Random("w", {3, 3});
  b.Op("Gather", {"embed.weight", "ids"}, "columns").Int("axis", 1);
  b.Op("MatMul", {"columns", "w"}, "y").Output("y", {2000, 3});
  const Planned planned(b, Wanted(Precision::kInt8));
  EXPECT_TRUE(planned.plan.tables.front().decision.keeps());
  EXPECT_THAT(planned.plan.tables.front().decision.reason, HasSubstr("takes columns"));
}

TEST(DecideTables, RowsOfAComputedTableAreKept) {
  GraphBuilder b(17);
  b.Input("ids", {3}, DType::kInt64).Random("a", {1024, 32}).Random("w.weight", {32, 32});
  b.Op("Cast", {"a"}, "b").Int("to", int64_t(DType::kFloat16));
  b.Op("Cast", {"b"}, "table").Int("to", int64_t(DType::kFloat32));
  b.Op("Gather", {"table", "ids"}, "rows").Op("MatMul", {"rows", "w.weight"}, "y");
  b.Output("y", {3, 32});
  const Planned planned(b, Wanted(Precision::kInt8));
  EXPECT_TRUE(planned.plan.tables.front().decision.keeps());
  EXPECT_THAT(planned.plan.tables.front().decision.reason, HasSubstr("computed"));
}

class TiedTables : public ::testing::TestWithParam<std::string> {};

TEST_P(TiedTables, HaveTheFormOfAHeadThatIsNoCodes) {
  for (const Precision head : {Precision::kHalf, Precision::kKeep}) {
    const Planned planned(Tied(GetParam()), Wanted(Precision::kInt8, head));
    const Table& table = planned.plan.tables.front();
    EXPECT_EQ(table.decision.halves(), head == Precision::kHalf);
    EXPECT_EQ(table.decision.keeps(), head == Precision::kKeep);
    EXPECT_THAT(table.decision.reason, HasSubstr("tied to"));
  }
}

TEST_P(TiedTables, ShareOneSetOfCodesWithTheHead) {
  const Planned planned(Tied(GetParam()), Wanted(Precision::kInt4, Precision::kInt8));
  const Table& table = planned.plan.tables.front();
  ASSERT_TRUE(table.decision.quantizes());
  EXPECT_EQ(table.spec().bits, 8);  // the head's
  EXPECT_EQ(table.n, 1100);
  EXPECT_EQ(table.k, 32);
  ASSERT_EQ(table.linears.size(), 1u);
  const Linear& head = planned.plan.linears[size_t(table.linears[0])];
  EXPECT_EQ(head.table, 0);
  EXPECT_TRUE(head.decision.quantizes());
  EXPECT_THAT(head.decision.reason, HasSubstr("found on the weight alone"));
  EXPECT_EQ(planned.plan.sites.size(), 1u);  // nothing of the head is searched
  EXPECT_THAT(planned.plan.constants, IsEmpty());
}

TEST_P(TiedTables, AreLeftAloneUnlessAskedFor) {
  const Planned planned(Tied(GetParam()), Wanted(Precision::kKeep, Precision::kInt8));
  EXPECT_TRUE(planned.plan.tables.front().decision.keeps());
  EXPECT_EQ(planned.plan.sites.size(), 2u);
}

TEST_P(TiedTables, HaveCodesOfTheirOwnBesideThoseOfAnotherForm) {
  PlanOptions options = Wanted(Precision::kInt8, Precision::kInt8);
  options.table_codes = &UnwrittenCodes();  // serves nobody
  const Planned planned(Tied(GetParam()), options);
  EXPECT_TRUE(planned.plan.tables.front().decision.quantizes());
  EXPECT_THAT(planned.plan.tables.front().linears, IsEmpty());
  EXPECT_EQ(planned.plan.sites.size(), 2u);
}

INSTANTIATE_TEST_SUITE_P(All, TiedTables, ::testing::Values("plain", "identity", "stored turned"),
                         [](const auto& way) {
                           return way.param == "stored turned" ? "StoredTurned" : way.param;
                         });

}  // namespace
}  // namespace ptq
