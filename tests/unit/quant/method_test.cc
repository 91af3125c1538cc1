// What the names of methods stand for, and which problems are refused.
#include "ptq/quant/method.h"

#include <limits>

#include "quant_testing.h"
#include <gmock/gmock.h>

#include "ptq/base/error.h"

namespace ptq::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

TEST(Method, NamesThreePiecesByAPreset) {
  EXPECT_THAT(MethodPresetNames(), ElementsAre("rtn", "awq", "smoothquant", "gptq", "awq-gptq",
                                               "adaround", "int8", "best"));
  EXPECT_EQ(MethodFromPreset("rtn").grid, "minmax");
  EXPECT_EQ(MethodFromPreset("awq").scaling, "awq-duo");
  EXPECT_EQ(MethodFromPreset("awq").grid, "block");
  EXPECT_EQ(MethodFromPreset("smoothquant").scaling, "smooth");
  EXPECT_EQ(MethodFromPreset("gptq").rounding, "gptq");
  EXPECT_FALSE(MethodFromPreset("gptq").propagate);
  EXPECT_EQ(MethodFromPreset("best").refine, 3);
  EXPECT_TRUE(MethodFromPreset("best").propagate);
}

TEST(Method, NeedsStatisticsForAnyPieceThatUsesThem) {
  EXPECT_FALSE(NeedsStatistics(MethodFromPreset("rtn")));
  EXPECT_TRUE(NeedsStatistics(MethodFromPreset("awq")));
  EXPECT_TRUE(NeedsStatistics(Pieces("none", "clip")));
}

TEST(Method, ListsWhatIsKnownWhenANameIsNot) {
  EXPECT_THAT([] { (void)MethodFromPreset("awk"); },
              ThrowsMessage<UsageError>(AllOf(HasSubstr("'awk'"), HasSubstr("rtn, awq"))));
  const SiteProblem nothing;
  EXPECT_THAT(
      [&] {
        (void)QuantizeSite(nothing, {"x", "minmax", "nearest"});
      },
      ThrowsMessage<UsageError>(AllOf(HasSubstr("scaling 'x'"), HasSubstr("none, awq"))));
  EXPECT_THAT(
      [&] {
        (void)QuantizeSite(nothing, {"none", "y", "nearest"});
      },
      ThrowsMessage<UsageError>(AllOf(HasSubstr("grid 'y'"), HasSubstr("minmax, clip"))));
  EXPECT_THAT(
      [&] {
        (void)QuantizeSite(nothing, {"none", "minmax", "z"});
      },
      ThrowsMessage<UsageError>(AllOf(HasSubstr("rounding 'z'"), HasSubstr("nearest"))));
}

TEST(QuantizeSite, NamesAWeightThatIsNotFinite) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    EXPECT_THAT(
        [&] {
          (void)QuantizeAlone({1.0f, bad}, 2, Spec(4, 0, true));
        },
        ThrowsMessage<InputError>(HasSubstr("'linear0'")));
  }
}

TEST(QuantizeSite, RefusesShapesThatDoNotFit) {
  Layer layer;
  layer.k = 2;
  layer.gram = {1.0f, 0.0f, 1.0f};
  EXPECT_THROW((void)QuantizeSite(layer.Problem(), MethodFromPreset("rtn")), InternalError);
  layer.gram.clear();
  layer.max_abs = {1.0f};
  EXPECT_THROW((void)QuantizeSite(layer.Problem(), MethodFromPreset("rtn")), InternalError);
  layer.max_abs.clear();
  layer.mean_abs = {1.0f};
  EXPECT_THROW((void)QuantizeSite(layer.Problem(), MethodFromPreset("rtn")), InternalError);
}

}  // namespace
}  // namespace ptq::testing
