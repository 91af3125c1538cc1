// Which names are forms of one model, and which form is taken.
#include "ptq/model/model_forms.h"

#include <algorithm>

#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::TempDirectory;

TEST(FormOfName, FindsTheModelThatAFileIsAFormOf) {
  for (const char* stem : {"model",
                           "model_fp16",
                           "model.fp16",
                           "model-bf16",
                           "model_fp32",
                           "model_int8",
                           "model.int8",
                           "model_uint8",
                           "model_q4",
                           "model_q4f16",
                           "model_q8",
                           "model_bnb4",
                           "model-quant",
                           "model.quant",
                           "model_quantized",
                           "model_O4",
                           "model_qint8_avx512_vnni",
                           "model_fp16_int8",
                           "model_cpu_int4",
                           "model_nf4",
                           "model_fp8",
                           "model_w4a16"}) {
    EXPECT_EQ(FormOfName(stem).base, "model") << stem;
  }
  EXPECT_EQ(FormOfName("encoder-epoch-99-avg-1.int8").base, "encoder-epoch-99-avg-1");
  EXPECT_EQ(FormOfName("decoder_model_merged_q4f16").base, "decoder_model_merged");
  EXPECT_EQ(FormOfName("fp16").base, "");
}

TEST(FormOfName, LeavesOtherNamesWhole) {
  for (const char* stem :
       {"decoder_with_past_model", "encoder-epoch-99-avg-1", "model_2", "text_b16",
        "decoder_static", "part-cpu", "resnet50", "clip-vit-l14", "net_int64"}) {
    EXPECT_EQ(FormOfName(stem).base, stem);
    EXPECT_EQ(FormOfName(stem).rank, 0) << stem;
  }
}

TEST(FormOfName, RanksThePrecisions) {
  std::vector<std::string> stems = {"m_q4", "m_fp16", "m_bf16", "m_fp32", "m"};
  std::ranges::stable_sort(stems, {}, [](const auto& stem) { return FormOfName(stem).rank; });
  EXPECT_THAT(stems, ElementsAre("m", "m_fp32", "m_bf16", "m_fp16", "m_q4"));
  EXPECT_TRUE(FormOfName("m_q4f16").is_quantized());
  EXPECT_FALSE(FormOfName("m_O4").is_quantized());
}

TEST(ChooseForms, TakesTheBestFloatFormOfEachModel) {
  const ModelChoice choice = ChooseForms({"encoder_q4.onnx", "encoder_fp16.onnx", "decoder.onnx",
                                          "decoder_fp32.onnx", "joiner_q8.onnx", "joiner_q4.onnx"});
  EXPECT_THAT(choice.files,
              ElementsAre("decoder.onnx", "encoder_fp16.onnx", "joiner_q4.onnx", "joiner_q8.onnx"));
  EXPECT_THAT(choice.left_out, ElementsAre("decoder_fp32.onnx", "encoder_q4.onnx"));
}

TEST(ChooseModel, LooksForTheModelsFormsInADirectory) {
  const TempDirectory directory;
  for (const char* name : {"plain/model.onnx", "plain/model.int8.onnx", "plain/other.onnx",
                           "half/onnx/model_fp16.onnx", "half/onnx/model_q4.onnx", "one/any.onnx",
                           "one/._any.onnx", "codes/model_q4.onnx", "two/a.onnx", "two/b.onnx"}) {
    directory.Write(name, "");
  }
  const auto choose = [&](const char* name) { return ChooseModel(directory.path() / name); };
  EXPECT_THAT(choose("plain").files, ElementsAre(directory.path() / "plain/model.onnx"));
  EXPECT_THAT(choose("plain").left_out, ElementsAre(directory.path() / "plain/model.int8.onnx"));
  EXPECT_THAT(choose("half").files, ElementsAre(directory.path() / "half/onnx/model_fp16.onnx"));
  EXPECT_THAT(choose("one").files, ElementsAre(directory.path() / "one/any.onnx"));
  EXPECT_THAT(choose("codes").left_out, IsEmpty());
  EXPECT_THROW((void)choose("two"), InputError);
  EXPECT_THROW((void)choose("none"), InputError);
}

}  // namespace
}  // namespace ptq
