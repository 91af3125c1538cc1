// How gates are written, and what they say.
#include "ptq/plan/gate.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "ptq/base/error.h"

namespace ptq {
namespace {

TEST(ParseGate, ReadsBothDirectionsAndMultiples) {
  const Gate most = ParseGate("ppl<=1.06x");
  EXPECT_EQ(most.figure, "ppl");
  EXPECT_TRUE(most.at_most && most.relative);
  EXPECT_DOUBLE_EQ(most.bound, 1.06);
  const Gate least = ParseGate(" cosine >= 0.95 ");
  EXPECT_EQ(least.figure, "cosine");
  EXPECT_FALSE(least.at_most || least.relative);
  EXPECT_DOUBLE_EQ(least.bound, 0.95);
}

TEST(ParseGate, RefusesWhatIsNone) {
  for (const char* text : {"", "ppl", "ppl<1", "ppl=1", "<=1", "ppl<=", "ppl<=x", "ppl<=1.0y",
                           "ppl<=nan", "ppl<=1e999"}) {
    EXPECT_THROW((void)ParseGate(text), UsageError) << text;
  }
}

TEST(GateText, TellsValueBoundAndWhatTheBoundIsOf) {
  EXPECT_EQ(GateText({"ppl<=1.06x", "ppl", 12.345, 11.872, 11.2, false}),
            "ppl 12.35, at most 11.87 (ppl<=1.06x of 11.2)");
  EXPECT_EQ(GateText({"cosine>=0.9", "cosine", 0.95, 0.9, {}, true}), "cosine 0.95, at least 0.9");
  EXPECT_EQ(GateText({"top1>=0.9", "top1", {}, 0.9, {}, false}),
            "top1 not measurable, at least 0.9");
}

TEST(GateReport, WritesWhatIsNotKnownAsNull) {
  GateReport report;
  report.results.push_back({"kl<=1", "kl", {}, 1, {}, false});
  report.fallback.push_back({"w", "", "8 bits", {}, 10, {}});
  const auto json = ToJson(report);
  EXPECT_TRUE(json["results"][0]["value"].is_null());
  EXPECT_TRUE(json["fallback"][0]["model"].is_null());
  EXPECT_TRUE(json["fallback"][0]["bytes_before"].is_null());
  EXPECT_EQ(json["fallback"][0]["bytes"], 10);
}

}  // namespace
}  // namespace ptq
