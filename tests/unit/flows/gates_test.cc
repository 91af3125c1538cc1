// Which figures keep which gates, and which tensors get more bits.
#include "flows/gates/gates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ptq {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;
using Json = nlohmann::ordered_json;

std::vector<Figure> SomeFigures() {
  LanguageModelScore score;
  score.tokens = 10;
  score.nll = 24;
  score.reference_nll = 23;
  score.kl = 1;
  score.same_top = 9;
  score.compared = true;
  return FiguresOf(score);
}

TEST(CompareGates, ComparesWithNumbersAndWithTheSource) {
  const auto results =
      CompareGates({ParseGate("ppl<=1.2x"), ParseGate("ppl<=1.1x"), ParseGate("kl<=0.1"),
                    ParseGate("top1>=0.91"), ParseGate("top1_agreement>=0.9")},
                   SomeFigures());
  std::vector<bool> passed;
  for (const GateResult& result : results) passed.push_back(result.passed);
  EXPECT_THAT(passed, ElementsAre(true, false, true, false, true));  // e^0.1 = 1.105
  EXPECT_NEAR(results[0].bound, 1.2 * std::exp(2.3), 1e-9);
}

TEST(CompareGates, AFigureThatDoesNotExistFailsAndAnUnknownOneIsRefused) {
  Figure figure{"spearman", "spearman", {}, Better::kHigher, "", true, {}};
  EXPECT_FALSE(CompareGates({ParseGate("spearman>=-1")}, {figure})[0].passed);
  EXPECT_THROW((void)CompareGates({ParseGate("cosine>=0.5")}, SomeFigures()), UsageError);
}

TEST(PartThatMayStay, IsTheDistanceThatIsAllowedOfThatFound) {
  // 0.04 of 0.10 above the source, and the bound may be missed a bit: four fifths of that.
  const GateResult ppl{"ppl<=1.04x", "ppl", 11.0, 10.4, 10.0, false};
  EXPECT_NEAR(PartThatMayStay({ppl}), 0.8 * 0.4, 1e-12);
  const GateResult top{"top1>=0.9", "top1", 0.6, 0.9, {}, false};
  EXPECT_NEAR(PartThatMayStay({ppl, top}), 0.8 * 0.25, 1e-12);
  // What no model can keep, and what cannot be measured.
  EXPECT_EQ(PartThatMayStay({{"ppl<=0.9x", "ppl", 11.0, 9.0, 10.0, false}}), 0);
  EXPECT_EQ(PartThatMayStay({{"spearman>=0.9", "spearman", {}, 0.9, {}, false}}), 0);
}

Json Linear(const std::string& name, int bits, double loss, int64_t n = 64) {
  return {{"name", name},
          {"n", n},
          {"k", 64},
          {"bytes_after", n * 64 * bits / 8},
          {"quantized", {{"form", "matmulnbits"}, {"bits", bits}, {"relative_loss", loss}}}};
}

Json Result(std::vector<Json> linears) {
  return {{"linears", std::move(linears)}, {"tables", Json::array()}};
}

std::vector<std::string> Patterns(const std::vector<Rule>& rules) {
  std::vector<std::string> patterns;
  for (const Rule& rule : rules) {
    patterns.push_back(rule.pattern + (rule.form.empty() ? "" : "=" + rule.form));
  }
  return patterns;
}

TEST(WidenFallback, TakesWhatLosesMostForItsBytesUntilEnoughIsGone) {
  const Json result = Result({Linear("small", 4, 0.01, 16), Linear("good", 4, 0.001),
                              Linear("bad", 4, 0.02), Linear("worst", 4, 0.05)});
  // Of 0.081; by loss for bytes: worst, small (0.01 in a fourth of the bytes), bad, good.
  EXPECT_THAT(Patterns(WidenFallback(result, {}, 0.5)), ElementsAre("worst"));
  EXPECT_THAT(Patterns(WidenFallback(result, {}, 0.3)), ElementsAre("worst", "small"));
  EXPECT_THAT(Patterns(WidenFallback(result, {}, 0.0)),
              ElementsAre("worst", "small", "bad", "good"));
  for (const Rule& rule : WidenFallback(result, {}, 0)) EXPECT_EQ(rule.bits, 8);
}

TEST(WidenFallback, TakesAtLeastAnEighthAndThenFp16) {
  std::vector<Json> linears;
  for (int i = 0; i < 16; ++i) linears.push_back(Linear("l" + std::to_string(i), 8, 0.001));
  Recipe recipe;
  recipe.fallback = WidenFallback(Result(linears), recipe, 1);
  EXPECT_THAT(Patterns(recipe.fallback), ElementsAre("l0=fp16", "l1=fp16"));
  // Those stand in the result without codes; the others are next.
  linears[0].erase("quantized");
  linears[1].erase("quantized");
  EXPECT_THAT(Patterns(WidenFallback(Result(linears), recipe, 1)),
              UnorderedElementsAre("l0=fp16", "l1=fp16", "l2=fp16", "l3=fp16"));
  for (Json& linear : linears) linear.erase("quantized");
  EXPECT_TRUE(WidenFallback(Result(linears), {}, 1).empty());
}

TEST(WidenFallback, ReplacesItsOwnRulesAndKeepsWhatTheUserSays) {
  Recipe recipe;
  Rule asked;
  asked.pattern = "*.bad";
  asked.group_size = 32;
  asked.method = "gptq";
  recipe.rules = {asked};
  const auto eight = WidenFallback(Result({Linear("l.bad", 4, 0.1)}), recipe, 0);
  ASSERT_EQ(eight.size(), 1U);
  EXPECT_EQ(eight[0].pattern, "l.bad");
  EXPECT_EQ(eight[0].group_size, 32);
  EXPECT_EQ(eight[0].method, "gptq");
  recipe.fallback = eight;
  const auto half = WidenFallback(Result({Linear("l.bad", 8, 0.001)}), recipe, 0);
  ASSERT_EQ(half.size(), 1U);
  EXPECT_EQ(half[0].form, "fp16");
  EXPECT_FALSE(half[0].bits.has_value());
}

TEST(WidenFallback, NamesExactlyOneTensorWhateverItsName) {
  for (const std::string name : {"a*b[0]", "/all/", "x:y", "w.q", "ünï"}) {
    const auto rules = WidenFallback(Result({Linear(name, 4, 0.1)}), {}, 0);
    ASSERT_EQ(rules.size(), 1U);
    const NamePattern pattern(rules[0].pattern);
    EXPECT_TRUE(pattern.Matches(name)) << rules[0].pattern;
    EXPECT_FALSE(pattern.Matches(name + "b")) << rules[0].pattern;
    EXPECT_FALSE(pattern.Matches("aab[0]")) << rules[0].pattern;
  }
}

TEST(DescribeFallback, TellsWhatATensorTakesAndWhatItLost) {
  Recipe recipe;
  const Json first = Result({Linear("a", 4, 0.1), Linear("b", 4, 0.01)});
  recipe.fallback = WidenFallback(first, recipe, 0.5);
  const Json now = Result({Linear("a", 8, 0.0004), Linear("b", 4, 0.01)});
  const auto entries = DescribeFallback(recipe.fallback, now, first);
  ASSERT_EQ(entries.size(), 1U);
  EXPECT_EQ(entries[0].name, "a");
  EXPECT_EQ(entries[0].form, "8 bits");
  EXPECT_EQ(entries[0].bytes, 4096);
  EXPECT_EQ(entries[0].bytes_before, 2048);
  EXPECT_EQ(entries[0].relative_loss, 0.1);
  EXPECT_FALSE(DescribeFallback(recipe.fallback, now, nullptr)[0].bytes_before.has_value());
}

}  // namespace
}  // namespace ptq
