// What a witness expects of a written model, and what it does not accept.
#include "witness.h"

#include <memory>
#include <string>

#include "support/model_builder.h"
#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ptq {
namespace {

using ::testing::HasSubstr;

/// A weight of one value.
class SameValue : public DeferredWeight {
 public:
  SameValue(int64_t n, int64_t k, float value) : n_(n), k_(k), value_(value) {}
  [[nodiscard]] int64_t n() const override { return n_; }
  [[nodiscard]] int64_t k() const override { return k_; }
  const float* Rows(int64_t begin, int64_t end, std::vector<float>& buffer) const override {
    buffer.assign(size_t((end - begin) * k_), value_);
    return buffer.data();
  }
  [[nodiscard]] Tensor Whole() const override { return Tensor::Filled<float>({k_, n_}, value_); }

 private:
  int64_t n_, k_;
  float value_;
};

class WitnessTest : public ::testing::Test {
 protected:
  WitnessTest()
      : file_(directory_.Write("model.onnx", testing::ToyDecoder(2).Bytes())),
        model_(Model::Load(file_)),
        graph_(model_),
        executor_(graph_),
        plan_(MakePlan(executor_.plan(), Options())) {}

  static PlanOptions Options(Precision head = Precision::kKeep) {
    PlanOptions options;
    options.head = head;
    return options;
  }
  [[nodiscard]] Values Ids(std::vector<int64_t> ids) const {
    const auto length = int64_t(ids.size());
    return {{graph_.Find("input_ids"), Tensor::From<int64_t>({1, length}, std::move(ids))}};
  }
  [[nodiscard]] size_t segments() const { return executor_.plan().segments().size(); }
  [[nodiscard]] const Linear& LinearNamed(const std::string& name) const {
    return *std::ranges::find(plan_.linears, name, &Linear::name);
  }
  [[nodiscard]] DeferredWeights Replaced(const std::string& name, float value) const {
    const Linear& linear = LinearNamed(name);
    return {{linear.operand, std::make_shared<SameValue>(linear.n, linear.k, value)}};
  }

  testing::TempDirectory directory_;
  std::filesystem::path file_;
  Model model_;
  Graph graph_;
  Executor executor_;
  Plan plan_;
};

TEST_F(WitnessTest, AcceptsTheModelThatItHasSeen) {
  Witness witness(executor_, plan_, false);
  witness.Begin(Ids({1, 5, 9}), Witness::Sample::kReal);
  for (size_t i = 1; i <= segments(); ++i) witness.AdvanceTo(i);
  const Verification verification = witness.Check(file_);
  EXPECT_TRUE(verification.done);
  EXPECT_LE(verification.max_relative, 1e-5);
  EXPECT_EQ(verification.tolerance, 1e-3);
  EXPECT_EQ(verification.note, "");
}

TEST_F(WitnessTest, ExpectsWhatStandsForAWeight) {
  const std::string name = "model.layers.1.mlp.down_proj";
  auto other = testing::ToyDecoder(2);
  for (auto& tensor : *other.graph().mutable_initializer()) {
    if (tensor.name() != name + ".weight") continue;
    testing::FillTensor(tensor = {}, name + ".weight",
                        Tensor::Filled<float>({testing::kToyWide, testing::kToyHidden}, 0.25f));
  }
  const auto changed = directory_.Write("changed.onnx", other.Bytes());
  for (const bool at_once : {false, true}) {  // a segment may wait for what comes behind it
    Witness witness(executor_, plan_, false);
    witness.Begin(Ids({1, 5, 9}), Witness::Sample::kReal);
    if (!at_once) witness.AdvanceTo(1);
    witness.Take(Replaced(name, 0.25f), {});
    witness.AdvanceTo(segments());
    EXPECT_LE(witness.Check(changed).max_relative, 1e-5);
    EXPECT_THROW((void)witness.Check(file_), QualityError);
  }
}

TEST_F(WitnessTest, ExpectsWhatIsAddedToValues) {
  Witness witness(executor_, plan_, false);
  witness.Begin(Ids({1, 5, 9}), Witness::Sample::kReal);
  const Linear& head = LinearNamed("lm_head");
  ValueEdits edits;
  edits.additions[graph_.Find("logits")] = Tensor::Filled<float>({head.n}, 100.0f);
  witness.Take({}, edits);
  witness.AdvanceTo(segments());
  try {
    (void)witness.Check(file_);
    FAIL() << "accepted a model that adds nothing";
  } catch (const QualityError& error) {
    EXPECT_THAT(error.what(), HasSubstr("(limit 0.001"));
  }
}

TEST_F(WitnessTest, CountsHalfWeightsAsRounded) {
  const Plan halves = MakePlan(executor_.plan(), Options(Precision::kHalf));
  Witness exact(executor_, plan_, false);
  Witness rounded(executor_, halves, true);
  for (Witness* witness : {&exact, &rounded}) {
    witness->Begin(Ids({1, 5, 9}), Witness::Sample::kReal);
    witness->AdvanceTo(segments());
  }
  const double distance = rounded.Check(file_).max_relative;
  EXPECT_GT(distance, exact.Check(file_).max_relative);
  EXPECT_LT(distance, 1e-2);
  EXPECT_EQ(rounded.Check(file_).tolerance, 2e-2);
}

TEST_F(WitnessTest, GoesOnAtACut) {
  Witness first(executor_, plan_, false);
  first.Begin(Ids({1, 5, 9}), Witness::Sample::kReal);
  first.AdvanceTo(2);
  Witness second(executor_, plan_, false);
  second.Begin(Ids({1, 5, 9}), Witness::Sample::kReal);
  second.Restore(*first.values(), 2);
  second.AdvanceTo(segments());
  EXPECT_LE(second.Check(file_).max_relative, 1e-5);
}

TEST_F(WitnessTest, SaysWhyNothingIsVerified) {
  Witness witness(executor_, plan_, false);
  witness.Begin(Ids({1}), Witness::Sample::kReal);
  witness.Dismiss("not wanted");
  EXPECT_EQ(witness.values(), nullptr);
  witness.Take(Replaced("lm_head", 1), {});
  witness.AdvanceTo(segments());
  EXPECT_FALSE(witness.Check(file_).done);
  EXPECT_EQ(witness.Check(file_).note, "not wanted");
}

TEST_F(WitnessTest, IsDismissedByAMadeUpSampleOnlyThatAKernelRefuses) {
  const Values refused = Ids({testing::kToyVocabulary});
  Witness made_up(executor_, plan_, false);
  made_up.Begin(refused, Witness::Sample::kMadeUp);
  made_up.AdvanceTo(segments());
  EXPECT_FALSE(made_up.Check(file_).done);
  EXPECT_THAT(made_up.Check(file_).note, HasSubstr("Gather"));
  Witness real(executor_, plan_, false);
  real.Begin(refused, Witness::Sample::kReal);
  EXPECT_THROW(real.AdvanceTo(segments()), InputError);
}

TEST_F(WitnessTest, RefusesAModelWithAnotherInput) {
  Witness witness(executor_, plan_, false);
  witness.Begin(Ids({1, 5, 9}), Witness::Sample::kReal);
  witness.AdvanceTo(segments());
  auto other = testing::ToyDecoder(2);
  other.Input("more", {1});
  try {
    (void)witness.Check(directory_.Write("other.onnx", other.Bytes()));
    FAIL() << "accepted an input that the source has not";
  } catch (const QualityError& error) {
    EXPECT_THAT(error.what(), HasSubstr("'more'"));
  }
}

}  // namespace
}  // namespace ptq
