// Outcomes as records and as what people read.
#include "ptq/plan/outcome.h"

#include <limits>

#include <gtest/gtest.h>

namespace ptq {
namespace {

Outcome Scaled() {
  Outcome outcome;
  outcome.scaling = "awq";
  outcome.alpha = 1.0 / 3;
  outcome.fold = "rows";
  outcome.bias_corrected = true;
  outcome.loss_before = 4;
  outcome.loss_after = 1e-300;
  outcome.energy = 8;
  outcome.tokens = 99;
  outcome.activation_scale = 0.125;
  outcome.activation_zero_point = 128;
  outcome.activation_loss = 0.5;
  outcome.accuracy_level = 4;
  outcome.activation_bits = 16;
  outcome.weight_loss = 1.0 / 7;
  outcome.nearest_loss = 1.0 / 9;
  outcome.propagation_loss = 0.25;
  outcome.site = SiteOutcome{3, {0.1, 0.2}, 0.15, {{2, 0.2}}, {{"awq", 0.5, 1.0 / 3}}};
  outcome.note = "why";
  outcome.bytes_before = 7;
  outcome.bytes_after = 5;
  return outcome;
}

TEST(Outcome, SurvivesABinaryRecordWithEveryField) {
  const auto bytes = nlohmann::json::to_cbor(nlohmann::json(Scaled()));
  const nlohmann::json read = nlohmann::json::from_cbor(bytes);
  const auto back = read.get<Outcome>();
  size_t fields = 0;
  ForEachField([&](const char* name, auto field, FieldUse) {
    EXPECT_EQ(back.*field, Scaled().*field) << name;
    EXPECT_NE(Scaled().*field, Outcome().*field) << name << " is not tested";
    ++fields;
  });
  EXPECT_EQ(fields, 20u);
  EXPECT_EQ(nlohmann::json(Outcome()).get<Outcome>().alpha, std::nullopt);
}

TEST(Outcome, ShowsLossesRelativeToTheEnergyAndNothingThatIsNoNumber) {
  Outcome outcome = Scaled();
  outcome.loss_after = 2;
  auto shown = ShownFields(outcome);
  EXPECT_EQ(shown["relative_loss"], 0.25);
  EXPECT_EQ(shown["calibration_tokens"], 99);
  EXPECT_FALSE(shown.contains("energy"));
  outcome.energy = 0;
  outcome.alpha.reset();
  outcome.loss_before = std::numeric_limits<double>::quiet_NaN();
  shown = ShownFields(outcome);
  EXPECT_TRUE(shown["relative_loss"].is_null());
  EXPECT_TRUE(shown["alpha"].is_null());
  EXPECT_TRUE(shown["loss_before"].is_null());
  EXPECT_EQ(Scaled().RelativeLossBefore(), 0.5);
  EXPECT_EQ(Scaled().RelativeActivationLoss(), 0.0625);
  EXPECT_EQ(Outcome().RelativeActivationLoss(), std::nullopt);
}

TEST(Outcome, OfASiteKeepsWhatStandsOut) {
  std::vector<float> mean_abs(1000);
  for (size_t i = 0; i < mean_abs.size(); ++i) mean_abs[i] = float(i % 10) + 1;
  mean_abs[437] = 100;
  const SiteOutcome site = SiteOutcomeOf(mean_abs, {});
  EXPECT_EQ(site.channels, 1000);
  ASSERT_EQ(site.mean_abs.size(), 64u);
  for (size_t bin = 0; bin < 64; ++bin) {  // every run of 15 or 16 channels has a 10
    const bool outlier = bin * 1000 / 64 <= 437 && 437 < (bin + 1) * 1000 / 64;
    EXPECT_EQ(site.mean_abs[bin], outlier ? 100 : 10) << bin;
  }
  EXPECT_EQ(site.median, 6);
  ASSERT_EQ(site.top.size(), 8u);
  EXPECT_EQ(site.top[0], (SalientChannel{437, 100}));
  EXPECT_EQ(site.top[1], (SalientChannel{9, 10}));  // of equal ones the first
  EXPECT_EQ(SiteOutcomeOf(std::vector<float>{3, 1}, {}).mean_abs, (std::vector<double>{3, 1}));
  EXPECT_TRUE(SiteOutcomeOf({}, {}).mean_abs.empty());
}

}  // namespace
}  // namespace ptq
