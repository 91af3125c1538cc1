// What a journal carries out, gives back to another run, and leaves behind.
#include "journal.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <optional>
#include <random>
#include <string>

#include "support/model_builder.h"
#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/emit/linear_form.h"
#include "ptq/model/graph.h"
#include "ptq/runtime/executor.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const nlohmann::ordered_json kJournalIdentity = {{"recipe", "awq"}};
constexpr double kNever = std::numeric_limits<double>::infinity();

/// Of each linear its own: equal tensors are stored once.
QuantizedMatrix CodesFor(const Linear& linear) {
  QuantizedMatrix q(linear.spec(), linear.n, linear.k);
  std::mt19937 random(uint32_t(linear.node));
  for (uint8_t& code : q.codes) code = uint8_t(random() % 16);
  std::ranges::fill(q.scales, 0.125f * float(1 + linear.node));
  std::ranges::fill(q.zero_points, uint8_t(8));
  return q;
}

class JournalTest : public ::testing::Test {
 protected:
  JournalTest()
      : model_(Model::Load(directory_.Write("source/model.onnx", testing::ToyDecoder(2).Bytes()))),
        graph_(model_),
        executor_(graph_) {
    PlanOptions options;
    options.codes = &FindLinearForm("matmulnbits");
    options.parameters.spec.group_size = 16;
    options.head = Precision::kKeep;
    plan_ = MakePlan(executor_.plan(), options);
  }

  /// One run's staged directory, with the journal of what is written there.
  struct Attempt {
    explicit Attempt(const JournalTest& test, double seconds = 0, bool resumes = true)
        : staged(test.destination(), {}, resumes),
          output(test.graph_, test.plan_, staged.path(), {}),
          journal(staged, output, test.plan_, seconds) {}
    StagedDirectory staged;
    OutputModel output;
    Journal journal;
  };

  /// The commands for one of the plan's sites.
  void Quantize(Journal& journal, size_t index) const {
    const Site& site = plan_.sites[index];
    if (site.scaling_allowed) {
      const auto channels = size_t(plan_.linears[size_t(site.linears.front())].k);
      journal.ScaleSite({site, std::vector<float>(channels, 2.0f + float(index))});
    }
    for (const int linear : site.linears) {
      const Linear& found = plan_.linears[size_t(linear)];
      if (!found.decision.quantizes()) continue;
      journal.AddBias(linear, std::vector<float>(size_t(found.n), 0.5f));
      Outcome outcome;
      outcome.alpha = double(linear) / 8;
      EXPECT_GT(journal.Quantize(linear, CodesFor(found), outcome), found.n * found.k / 2);
    }
  }

  [[nodiscard]] std::filesystem::path destination() const { return directory_.path() / "result"; }
  [[nodiscard]] std::vector<std::string> ResultFiles() const {
    return {ReadTextFile(destination() / "model.onnx"),
            ReadTextFile(destination() / "model.onnx.data")};
  }

  testing::TempDirectory directory_;
  Model model_;
  Graph graph_;
  Executor executor_;
  Plan plan_;
};

TEST_F(JournalTest, ResumesToTheResultOfAnUndisturbedRun) {
  const size_t sites = plan_.sites.size();
  ASSERT_GT(sites, 4u);
  {
    Attempt whole(*this);
    whole.journal.Open(kJournalIdentity);
    for (size_t i = 0; i < sites; ++i) Quantize(whole.journal, i);
    whole.output.Finish();
    whole.journal.Commit();
  }
  const std::vector<std::string> expected = ResultFiles();
  std::filesystem::remove_all(destination());
  {
    Attempt first(*this);
    first.journal.Open(kJournalIdentity);
    EXPECT_EQ(first.journal.segments(), 0u);
    Quantize(first.journal, 0);
    first.journal.Save(1, nullptr, nullptr, /*behind=*/true);
    Quantize(first.journal, 1);
    first.journal.Save(2, nullptr, nullptr, /*behind=*/false);
    Quantize(first.journal, 2);  // this is lost
    EXPECT_TRUE(first.journal.Keep());
  }
  Attempt second(*this);
  second.journal.Open(kJournalIdentity);
  EXPECT_EQ(second.journal.segments(), 2u);
  const auto outcomes = second.journal.Replay();
  ASSERT_EQ(outcomes.linears.size(), plan_.sites[0].linears.size() + plan_.sites[1].linears.size());
  for (const auto& [linear, outcome] : outcomes.linears) {
    EXPECT_EQ(outcome.alpha, double(linear) / 8);
    EXPECT_GT(outcome.bytes_after, 0);
  }
  for (size_t i = 2; i < sites; ++i) Quantize(second.journal, i);
  second.output.Finish();
  second.journal.Commit();
  EXPECT_EQ(ResultFiles(), expected);
  EXPECT_FALSE(std::filesystem::exists(destination() / "checkpoint"));
}

TEST_F(JournalTest, GivesBackWhatTheNextSegmentStartsFrom) {
  const Values expectation = {{8, Tensor::Filled<float>({2}, 1.5f)}};
  {
    Attempt first(*this);
    first.journal.Open(kJournalIdentity);
    CutStore cuts(1, 1 << 20, directory_.path());
    cuts.Put(0, {{4, Tensor::Filled<float>({3}, 2.5f)}});
    first.journal.Save(1, &cuts, &expectation, /*behind=*/true);
    cuts.Put(0, {{4, Tensor::Filled<float>({3}, 9.0f)}});  // meanwhile
    EXPECT_TRUE(first.journal.Keep());
  }
  Attempt second(*this);
  second.journal.Open(kJournalIdentity);
  CutStore cuts(1, 1 << 20, directory_.path());
  second.journal.LoadCuts(cuts);
  EXPECT_EQ(cuts.Get(0).at(4).data<float>()[0], 2.5f);
  EXPECT_EQ(second.journal.LoadExpectation().at(8).data<float>()[1], 1.5f);
  EXPECT_GE(second.journal.Age(), 0);
}

TEST_F(JournalTest, LeavesNothingWithoutAStep) {
  std::filesystem::path staged;
  {
    Attempt attempt(*this);
    staged = attempt.staged.path();
    attempt.journal.Open(kJournalIdentity);
    Quantize(attempt.journal, 0);
    EXPECT_FALSE(attempt.journal.Keep());
  }
  EXPECT_FALSE(std::filesystem::exists(staged));
}

TEST_F(JournalTest, KeepsWhatItFoundThoughItIsNeverOpened) {
  {
    Attempt first(*this);
    first.journal.Open(kJournalIdentity);
    first.journal.Save(1, nullptr, nullptr, /*behind=*/false);
    EXPECT_TRUE(first.journal.Keep());
  }
  { const Attempt fails(*this); }
  EXPECT_THROW(Attempt(*this).journal.Open({{"recipe", "gptq"}}), UsageError);
  Attempt third(*this);
  third.journal.Open(kJournalIdentity);
  EXPECT_EQ(third.journal.segments(), 1u);
}

TEST_F(JournalTest, CountsTheStepBeforeOneThatCannotBeSaved) {
  Attempt attempt(*this);
  attempt.journal.Open(kJournalIdentity);
  attempt.journal.Save(1, nullptr, nullptr, /*behind=*/true);
  attempt.journal.Finish();
  std::filesystem::create_directories(attempt.staged.path() / "checkpoint/step-1.npz/in the way");
  const Values expectation = {{8, Tensor::Filled<float>({2}, 1.5f)}};
  attempt.journal.Save(2, nullptr, &expectation, /*behind=*/true);
  EXPECT_THROW(attempt.journal.Finish(), OutputError);
  attempt.journal.Save(2, nullptr, &expectation, /*behind=*/true);
  EXPECT_TRUE(attempt.journal.Keep());
  EXPECT_EQ(attempt.journal.segments(), 1u);
}

TEST_F(JournalTest, IsWorthAStepWhenTimeHasPassed) {
  EXPECT_TRUE(Attempt(*this, 0).journal.WorthKeeping());
  EXPECT_FALSE(Attempt(*this, kNever).journal.WorthKeeping());
}

}  // namespace
}  // namespace ptq
