// Which tensors a rule is for, what it changes, and how it stands to the other options.
#include "ptq/plan/rules.h"

#include "support/planned.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;
using testing::GraphBuilder;
using ::testing::HasSubstr;
using testing::Planned;

Rule MakeRule(const std::string& pattern) {
  Rule rule;
  rule.pattern = pattern;
  rule.where = "--rule";
  return rule;
}

/// Codes of a name, which refuse tensors of some rows.
class FormOfRows : public Form {
 public:
  FormOfRows(std::string_view name, int64_t refused, std::vector<std::string_view> fallbacks)
      : name_(name), refused_(refused), fallbacks_(std::move(fallbacks)) {}
  [[nodiscard]] std::string_view name() const override { return name_; }
  [[nodiscard]] Storage storage() const override { return Storage::kCodes; }
  [[nodiscard]] std::string Refusal(const TensorFacts& tensor,
                                    const FormParameters& /*parameters*/) const override {
    return tensor.n == refused_ ? std::string(name_) + " wants other rows" : "";
  }
  [[nodiscard]] std::span<const std::string_view> Fallbacks() const override { return fallbacks_; }
  [[nodiscard]] int64_t Bytes(const TensorFacts& tensor,
                              const FormParameters& /*parameters*/) const override {
    return tensor.n;
  }

 private:
  std::string_view name_;
  int64_t refused_;
  std::vector<std::string_view> fallbacks_;
};

/// Three layers of 16 features, a head of 64 classes, and a table of 32 rows.
GraphBuilder Layers() {
  GraphBuilder b;
  b.Input("ids", {-1}, DType::kInt64)
      .Random("embed.weight", {32, 16})
      .Random("a.q.weight", {16, 16});
  b.Random("a.k.weight", {16, 16}).Random("b.q.weight", {16, 24}).Random("head.weight", {24, 64});
  b.Op("Gather", {"embed.weight", "ids"}, "x").Op("MatMul", {"x", "a.q.weight"}, "q");
  b.Op("MatMul", {"x", "a.k.weight"}, "k").Op("Mul", {"q", "k"}, "m");
  b.Op("MatMul", {"m", "b.q.weight"}, "h").Op("MatMul", {"h", "head.weight"}, "logits");
  return b.Output("logits", {-1, 64});
}

TEST(Rules, FollowTheFirstThatMatches) {
  PlanOptions options;
  options.rules = {MakeRule("a.q"), MakeRule("*.q")};
  options.rules[0].bits = 8;
  options.rules[1].bits = 2;
  options.rules[1].accuracy_level = 0;
  const Planned planned(Layers(), options);
  EXPECT_EQ(planned.Find("a.q").spec().bits, 8);
  EXPECT_EQ(planned.Find("a.q").decision.parameters.accuracy_level, 4);
  EXPECT_EQ(planned.Find("a.k").spec().bits, 4);
  EXPECT_EQ(planned.Find("b.q").spec().bits, 2);
  EXPECT_EQ(planned.Find("b.q").decision.parameters.accuracy_level, 0);
  EXPECT_EQ(planned.Find("a.q").decision.reason, "rule 'a.q'");
}

TEST(Rules, DecideHowWhatIsTouchedIsQuantized) {
  PlanOptions options;
  options.exclude = {"a.q"};
  options.rules = {MakeRule("*.q"), MakeRule("a.k")};
  options.rules[0].bits = 8;
  options.rules[1].form = "keep";
  const Planned planned(Layers(), options);
  EXPECT_TRUE(planned.Find("a.q").decision.keeps());
  EXPECT_TRUE(planned.Find("a.k").decision.keeps());
  EXPECT_EQ(planned.Find("b.q").spec().bits, 8);
}

TEST(Rules, TakeThePlaceOfLmHeadOnlyWhenTheySayWhatBecomesOfIt) {
  PlanOptions options;
  options.rules = {MakeRule("head")};
  options.rules[0].bits = 8;
  EXPECT_TRUE(Planned(Layers(), options).Find("head").decision.quantizes());
  options.rules[0] = MakeRule("head");
  options.rules[0].accuracy_level = 0;
  EXPECT_TRUE(Planned(Layers(), options).Find("head").decision.halves());
}

TEST(Rules, GiveATensorAMethodOfItsOwn) {
  PlanOptions options;
  options.method.grid = "search";
  options.rules = {MakeRule("a.q")};
  options.rules[0].rounding = "gptq";
  const Planned planned(Layers(), options);
  ASSERT_TRUE(planned.Find("a.q").decision.method.has_value());
  EXPECT_EQ(planned.Find("a.q").decision.method->rounding, "gptq");
  EXPECT_EQ(planned.Find("a.q").decision.method->grid, "search");
  EXPECT_FALSE(planned.Find("a.k").decision.method.has_value());
}

TEST(Rules, HalveATableAndWhatIsTiedToIt) {
  PlanOptions options;
  options.rules = {MakeRule("embed")};
  options.rules[0].form = "fp16";
  const Planned planned(Layers(), options);
  ASSERT_EQ(planned.plan.tables.size(), 1u);
  EXPECT_TRUE(planned.plan.tables[0].decision.halves());
  EXPECT_EQ(planned.plan.tables[0].decision.bytes, 32 * 16 * 2);
  EXPECT_THAT(HalvedValues(planned.plan), ::testing::Contains(planned.plan.tables[0].stored));
}

TEST(Rules, GiveATableCodes) {
  GraphBuilder b;
  b.Input("ids", {-1}, DType::kInt64).Random("embed.weight", {1024, 16}).Random("w", {16, 8});
  b.Op("Gather", {"embed.weight", "ids"}, "x").Op("MatMul", {"x", "w"}, "y").Output("y", {-1, 8});
  PlanOptions options;
  options.rules = {MakeRule("embed")};
  options.rules[0].bits = 4;
  const Planned four(b, options);
  EXPECT_TRUE(four.plan.tables[0].decision.quantizes());
  EXPECT_EQ(four.plan.tables[0].spec().bits, 4);
  options.rules[0] = MakeRule("embed");
  options.rules[0].accuracy_level = 0;  // says nothing of what a table becomes
  options.embeddings = Precision::kInt8;
  EXPECT_EQ(Planned(b, options).plan.tables[0].spec().bits, 8);
  options.rules[0].form = "keep";
  EXPECT_TRUE(Planned(b, options).plan.tables[0].decision.keeps());
}

TEST(Rules, ThatKeepWinOverHalfFloats) {
  PlanOptions options;
  options.half_floats = true;
  options.rules = {MakeRule("embed")};
  options.rules[0].form = "keep";
  EXPECT_TRUE(Planned(Layers(), options).plan.tables[0].decision.keeps());
}

TEST(Rules, ThatMatchNothingAreMistakes) {
  PlanOptions options;
  options.rules = {MakeRule("nobody")};
  options.rules[0].bits = 8;
  options.rules[0].where = "'r.toml' line 3";
  try {
    (void)Planned(Layers(), options);
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("'r.toml' line 3: 'nobody' matches no linear"));
  }
  options.patterns_must_match = false;
  (void)Planned(Layers(), options);
}

TEST(Rules, NameAModelOfADirectory) {
  const std::vector<std::string> models = {"onnx/encoder", "onnx/decoder"};
  Rule rule = MakeRule("encoder:*.q");
  ASSERT_TRUE(RuleFor(rule, models[0], models).has_value());
  EXPECT_EQ(RuleFor(rule, models[0], models)->pattern, "*.q");
  EXPECT_FALSE(RuleFor(rule, models[1], models).has_value());
  // A colon of a name is no model's.
  rule.pattern = "onnx::MatMul_3";
  EXPECT_EQ(RuleFor(rule, models[1], models)->pattern, "onnx::MatMul_3");
  rule.pattern = "*:0";
  EXPECT_EQ(RuleFor(rule, models[1], models)->pattern, "*:0");
  rule.model = "decoder.onnx";
  EXPECT_FALSE(RuleFor(rule, models[0], models).has_value());
  EXPECT_TRUE(RuleFor(rule, models[1], models).has_value());
  rule.model = "vision";
  EXPECT_THROW((void)RuleFor(rule, models[0], models), UsageError);
}

TEST(Rules, AreWrittenWithTheKeysOfARecipe) {
  Rule rule = MakeRule("*.q");
  rule.model = "encoder";
  rule.group_size = 0;
  rule.symmetric = false;
  rule.method = "gptq";
  EXPECT_EQ(ToJson(rule).dump(),
            R"({"model":"encoder","pattern":"*.q","group":"channel","symmetric":false,)"
            R"("method":"gptq"})");
}

TEST(Fallback, TakesTheNextFormThatAcceptsAndSaysWhy) {
  const FormOfRows last("last", 64, {});
  const FormOfRows next("next", 24, {});
  const FormOfRows first("first", 16, {"next", "last"});
  const std::vector<CodeForm> forms = {{&first, &first}, {&next, &next}, {&last, &last}};
  PlanOptions options;
  options.codes = &first;
  options.forms = forms;
  options.head = Precision::kInt4;
  const Planned planned(Layers(), options);
  EXPECT_EQ(planned.Find("a.q").decision.form, &next);
  EXPECT_EQ(planned.Find("a.q").decision.reason, "not first: first wants other rows");
  EXPECT_EQ(planned.Find("a.q").decision.bytes, 16);
  EXPECT_EQ(planned.Find("b.q").decision.form, &first);
}

TEST(Fallback, RefusesAModelOfWhichNothingCanBeQuantized) {
  const FormOfRows form("first", 16, {});
  PlanOptions options;
  options.codes = &form;
  options.exclude = {"b.q"};
  try {
    (void)Planned(Layers(), options);
    FAIL();
  } catch (const UnsupportedError& error) {
    EXPECT_THAT(error.what(), HasSubstr("none of the 2 linears"));
    EXPECT_THAT(error.what(), HasSubstr("first wants other rows"));
  }
  options.exclude = {};
  EXPECT_TRUE(Planned(Layers(), options).Find("a.q").decision.keeps());
}

TEST(ReusedWeights, HaveTheCodesOfTheFirstOfTheirLinears) {
  GraphBuilder b;
  b.Input("x", {-1, 16}).Random("w", {16, 16});
  b.Op("MatMul", {"x", "w"}, "h", "first").Op("Relu", {"h"}, "r");
  b.Op("MatMul", {"r", "w"}, "y", "second").Output("y", {-1, 16});
  PlanOptions options;
  options.rules = {MakeRule("second")};
  options.rules[0].bits = 8;
  const Planned planned(b, options);
  EXPECT_EQ(planned.plan.linears[1].spec().bits, planned.plan.linears[0].spec().bits);
}

}  // namespace
}  // namespace ptq
