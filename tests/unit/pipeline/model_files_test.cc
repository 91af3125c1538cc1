// Which models stand beside one, and in which form they are taken.
#include <string>
#include <vector>

#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/pipeline/directory.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;

class GroupOfTest : public ::testing::Test {
 protected:
  GroupOfTest() {
    for (const char* name : {"decoder_model.onnx", "decoder_model_q4.onnx", "embed_tokens.onnx",
                             "encoder_model.onnx", "encoder_model_q4.onnx"}) {
      directory_.Write(name, "");
    }
  }
  std::vector<std::string> Names(const std::string& file) {
    const ModelGroup group = GroupOf(directory_.path() / file);
    index_ = group.index;
    std::vector<std::string> names;
    for (const auto& path : group.files) names.push_back(path.filename().string());
    return names;
  }
  testing::TempDirectory directory_;
  size_t index_ = 0;
};

TEST_F(GroupOfTest, TakesPlainModelsBesideAPlainOne) {
  EXPECT_THAT(Names("decoder_model.onnx"),
              ElementsAre("embed_tokens.onnx", "encoder_model.onnx", "decoder_model.onnx"));
  EXPECT_EQ(index_, 2u);
}

TEST_F(GroupOfTest, TakesModelsOfTheSameFormWhereThereAreSuch) {
  EXPECT_THAT(Names("decoder_model_q4.onnx"),
              ElementsAre("embed_tokens.onnx", "encoder_model_q4.onnx", "decoder_model_q4.onnx"));
  EXPECT_EQ(index_, 2u);
}

TEST_F(GroupOfTest, LeavesAModelAloneThatBelongsToNoOther) {
  const testing::TempDirectory other;
  const auto model = other.Write("model.onnx", "");
  other.Write("another.onnx", "");
  EXPECT_THAT(GroupOf(model).files, ElementsAre(model));
  EXPECT_THAT(GroupOf(other.path()).files, ElementsAre(other.path()));
}

}  // namespace
}  // namespace ptq
