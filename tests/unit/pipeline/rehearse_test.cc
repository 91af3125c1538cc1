// What a dry run finds out without work: the same plan, sizes and refusals as the run.
#include "rehearse.h"

#include <limits>
#include <set>
#include <string>

#include "support/model_builder.h"
#include "support/temp_directory.h"
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/pipeline/directory.h"
#include "ptq/pipeline/single_file.h"
#include "ptq/tensor/npz.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;

class RehearseTest : public ::testing::Test {
 protected:
  RehearseTest() {
    WriteNpz(directory_.path() / "ids.npz",
             {{"input_ids", Tensor::From<int64_t>({2, 6}, {1, 2, 3, 4, 5, 6, 6, 5, 4, 3, 2, 1})}});
    recipe_.source = directory_.Write("toy/model.onnx", testing::ToyDecoder(2).Bytes());
    recipe_.destination = directory_.path() / "result";
    recipe_.method = "awq";
    recipe_.group_size = 16;
    recipe_.calibration.files = {directory_.path() / "ids.npz"};
  }
  [[nodiscard]] std::set<fs::path> Entries() const {
    std::set<fs::path> names;
    for (const auto& entry : fs::recursive_directory_iterator(directory_.path())) {
      names.insert(entry.path());
    }
    return names;
  }

  testing::TempDirectory directory_;
  Recipe recipe_;
  Ranks alone_ = Ranks::Alone();
};

TEST_F(RehearseTest, ReadsTheSamplesAndPredictsAsTheRunDoes) {
  const auto before = Entries();
  const RunReport planned = RehearseRun(recipe_, {}, alone_);
  EXPECT_EQ(Entries(), before);
  const RunReport done = ptq::Run(recipe_);
  EXPECT_EQ(planned.samples, 2);
  EXPECT_EQ(planned.tokens, done.tokens);
  EXPECT_EQ(planned.plan.linears.size(), done.plan.linears.size());
  EXPECT_EQ(planned.predicted.Total(), done.predicted.Total());
  EXPECT_GT(planned.predicted_peak_bytes, 0);
}

TEST_F(RehearseTest, RefusesADestinationThatIsNotItsOwn) {
  directory_.Write("result/thesis.txt", "work");
  EXPECT_THROW((void)RehearseRun(recipe_, {}, alone_), OutputError);
}

TEST_F(RehearseTest, SaysThatAResultIsUpToDateUnlessItIsForced) {
  (void)ptq::Run(recipe_);
  EXPECT_TRUE(RehearseRun(recipe_, {}, alone_).up_to_date);
  recipe_.overwrite = true;
  RunOptions forced;
  forced.force = true;
  EXPECT_FALSE(RehearseRun(recipe_, forced, alone_).up_to_date);
  recipe_.overwrite = false;
  recipe_.bits = 8;
  EXPECT_THROW((void)RehearseRun(recipe_, {}, alone_), OutputError);
}

TEST_F(RehearseTest, RefusesAWeightThatTheRunWouldMeet) {
  testing::GraphBuilder spoiled = testing::ToyDecoder(1);
  for (auto& weight : *spoiled.graph().mutable_initializer()) {
    if (weight.dims_size() != 2 || weight.name().find("down") == std::string::npos) continue;
    const float nan = std::numeric_limits<float>::quiet_NaN();
    weight.mutable_raw_data()->replace(0, sizeof nan, reinterpret_cast<const char*>(&nan),
                                       sizeof nan);
  }
  directory_.Write("toy/model.onnx", spoiled.Bytes());
  recipe_.method = "rtn";
  EXPECT_THROW((void)RehearseRun(recipe_, {}, alone_), InputError);
}

TEST_F(RehearseTest, OfOneFileLooksAtThatFile) {
  recipe_.destination = directory_.path() / "out.onnx";
  const auto before = Entries();
  const RunReport planned = RehearseToFile(recipe_, {}, alone_);
  EXPECT_EQ(planned.destination, recipe_.destination);
  EXPECT_EQ(Entries(), before);
  directory_.Write("out.onnx", "somebody's");
  EXPECT_THROW((void)RehearseToFile(recipe_, {}, alone_), OutputError);
  recipe_.layout = Layout::kTransformersJs;
  EXPECT_THROW((void)RehearseToFile(recipe_, {}, alone_), UsageError);
}

TEST_F(RehearseTest, OfADirectoryPlansEveryModelAndRefusesTheDestination) {
  directory_.Write("two/text_model.onnx", testing::ToyDecoder(1).Bytes());
  directory_.Write("two/decoder_model.onnx", testing::ToyDecoder(1).Bytes());
  recipe_.source = directory_.path() / "two";
  recipe_.method = "rtn";
  const auto before = Entries();
  EXPECT_EQ(RehearseDirectory(recipe_, {}).size(), 2u);
  EXPECT_EQ(Entries(), before);
  directory_.Write("result/thesis.txt", "work");
  EXPECT_THROW((void)RehearseDirectory(recipe_, {}), OutputError);
}

}  // namespace
}  // namespace ptq
