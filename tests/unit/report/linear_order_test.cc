// How linears are sorted and cut off, of a model and in metadata.
#include "ptq/report/linear_order.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;

const std::vector<LinearFacts> kLinears = {{"layers.10.q", 6, 30, 0.02, 0.08},
                                           {"layers.2.q", 8, 30, std::nullopt, std::nullopt},
                                           {"layers.2.k", 8, 40, 0.05, 0.06}};

TEST(Arranged, OrdersByEachKey) {
  EXPECT_THAT(Arranged(kLinears, {LinearKey::kFile}), ElementsAre(0, 1, 2));
  EXPECT_THAT(Arranged(kLinears, {LinearKey::kName}), ElementsAre(2, 1, 0));
  EXPECT_THAT(Arranged(kLinears, {LinearKey::kShape}), ElementsAre(1, 2, 0));
  EXPECT_THAT(Arranged(kLinears, {LinearKey::kSize}), ElementsAre(2, 0, 1));
  EXPECT_THAT(Arranged(kLinears, {LinearKey::kError}), ElementsAre(2, 0, 1));
  EXPECT_THAT(Arranged(kLinears, {LinearKey::kGain}), ElementsAre(0, 2, 1));
}

TEST(Arranged, TakesTheFirstOnes) {
  EXPECT_THAT(Arranged(kLinears, {LinearKey::kError, 1}), ElementsAre(2));
  EXPECT_THAT(Arranged(kLinears, {LinearKey::kFile, 9}), ElementsAre(0, 1, 2));
}

TEST(Arranged, KnowsNoErrorsOfModelsThatWereNotQuantized) {
  const std::vector<LinearFacts> plain = {{"a", 1, 1, std::nullopt, std::nullopt}};
  EXPECT_THROW((void)Arranged(plain, {LinearKey::kError}), UsageError);
  EXPECT_THAT(Arranged({}, {LinearKey::kError}), ElementsAre());
}

TEST(ArrangedMetadata, ArrangesEachModel) {
  const auto linear = [](const char* name, int bytes) {
    return nlohmann::ordered_json{
        {"name", name}, {"n", 1}, {"k", 1}, {"bytes_after", bytes}, {"quantized", nullptr}};
  };
  nlohmann::ordered_json models;
  models["models"] = {{{"linears", {linear("a", 1), linear("b", 2)}}}, {{"file", "copied.onnx"}}};
  const auto arranged = ArrangedMetadata(models, {LinearKey::kSize, 1});
  EXPECT_EQ(arranged["models"][0]["linears"].size(), 1);
  EXPECT_EQ(arranged["models"][0]["linears"][0]["name"], "b");
  EXPECT_EQ(arranged["models"][1], models["models"][1]);
  nlohmann::ordered_json broken;
  broken["linears"] = {{{"name", 1}}};
  EXPECT_THROW((void)ArrangedMetadata(broken, {}), InputError);
}

}  // namespace
}  // namespace ptq
