// What is no ONNX model is named, with the command that makes one of it.
#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/model/model.h"

namespace ptq {
namespace {

using std::string_literals::operator""s;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::TempDirectory;

std::string ErrorOf(const std::filesystem::path& path) {
  try {
    (void)Model::Load(path);
  } catch (const InputError& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    return error.what();
  }
  return "no error";
}

TEST(ForeignModel, WeightsOfPyTorchAreKnownByContent) {
  const TempDirectory directory;
  const std::string safetensors = "\x10\x00\x00\x00\x00\x00\x00\x00{\"__metadata__\":{}}"s;
  EXPECT_THAT(ErrorOf(directory.Write("a.onnx", safetensors)),
              AllOf(HasSubstr("is a safetensors file"), HasSubstr("export it first"),
                    HasSubstr("optimum-cli export onnx --model " + directory.path().string())));
  EXPECT_THAT(ErrorOf(directory.Write("b", "\x80\x02\x8A\x0A"s)), HasSubstr("a PyTorch file"));
  const std::string zip = "PK\x03\x04"s + std::string(26, '\0') + "archive/data.pkl";
  EXPECT_THAT(ErrorOf(directory.Write("c.onnx", zip)), HasSubstr("a PyTorch file"));
}

TEST(ForeignModel, FormatsWithoutAWayToOnnxPointToTheOriginal) {
  const TempDirectory directory;
  EXPECT_THAT(ErrorOf(directory.Write("a.onnx", "GGUF\x03\x00\x00\x00"s)),
              AllOf(HasSubstr("a GGUF file"), HasSubstr("original model")));
  EXPECT_THAT(ErrorOf(directory.Write("m.ort", "\x10\x00\x00\x00ORTM\x00\x00"s)),
              HasSubstr("ORT format"));
  const std::string core_ml = "\x08\x06\x12\x30"s + "com.github.apple.coremltools.version";
  EXPECT_THAT(ErrorOf(directory.Write("weights", core_ml)), HasSubstr("a Core ML model"));
  directory.Write("openvino_model.bin", "\x01\x02\x03");
  EXPECT_THAT(ErrorOf(directory.Write("openvino_model.xml", "<?xml version=\"1.0\"?><net/>")),
              HasSubstr("OpenVINO"));
}

TEST(ForeignModel, TensorFlowIsConvertedByTf2onnx) {
  const TempDirectory directory;
  EXPECT_THAT(ErrorOf(directory.Write("m.h5", "\x89HDF\r\n\x1A\n"s)),
              HasSubstr("python -m tf2onnx.convert --keras"));
  EXPECT_THAT(ErrorOf(directory.Write("m.tflite", "\x1C\x00\x00\x00TFL3"s)),
              HasSubstr("tf2onnx.convert --tflite"));
  EXPECT_THAT(ErrorOf(directory.Write("frozen.pb", "\x0A\x10\x0A\x01x\x12\x0BPlaceholder"s)),
              HasSubstr("tf2onnx.convert --graphdef"));
  directory.Write("saved/saved_model.pb", "\x08\x01\x12\x01");
  directory.Write("saved/variables/variables.index", "x");
  EXPECT_THAT(ErrorOf(directory.path() / "saved"),
              AllOf(HasSubstr("a TensorFlow SavedModel"), HasSubstr("--saved-model")));
}

TEST(ForeignModel, ADirectoryNamesItsTellingFile) {
  const TempDirectory directory;
  directory.Write("m/config.json", "{}");
  directory.Write("m/training_args.bin", "x");
  EXPECT_THAT(ErrorOf(directory.path() / "m"),
              AllOf(HasSubstr("no .onnx file"), Not(HasSubstr("export"))));
  directory.Write("m/model.safetensors", "version https://git-lfs.github.com/spec/v1\n");
  directory.Write("m/flax_model.msgpack", "x");
  EXPECT_THAT(ErrorOf(directory.path() / "m"),
              AllOf(HasSubstr("'model.safetensors', a safetensors file"),
                    HasSubstr("optimum-cli export onnx --model " + directory.path().string())));
}

TEST(ForeignModel, ADirectoryTellsWhereBelowItModelsAre) {
  const TempDirectory directory;
  directory.Write("m/cpu-int4/model.onnx", "x");
  EXPECT_THAT(ErrorOf(directory.path() / "m"), HasSubstr("m/cpu-int4'"));
}

TEST(ForeignModel, NamesOnAHubAreToBeExported) {
  for (const char* name : {"Qwen/Qwen3-0.6B", "https://huggingface.co/Qwen/Qwen3-0.6B/tree/main",
                           "hf://Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B:q4"}) {
    EXPECT_THAT(ErrorOf(name), AllOf(HasSubstr("does not exist here"),
                                     HasSubstr("optimum-cli export onnx --model Qwen/Qwen3-0.6B "),
                                     HasSubstr("hf download Qwen/Qwen3-0.6B")))
        << name;
  }
  EXPECT_THAT(ErrorOf("https://example.org/model.onnx"), HasSubstr("download it first"));
  EXPECT_THAT(ErrorOf(std::string(1 << 20, 'a')), Not(HasSubstr("export")));
}

TEST(ForeignModel, AMistypedPathIsNoNameOnAHub) {
  const TempDirectory directory;
  for (const std::string& path :
       {(directory.path() / "absent").string(), "absent/model.onnx"s, "./absent"s, "../absent"s}) {
    EXPECT_THAT(ErrorOf(path), AllOf(HasSubstr("does not exist"), Not(HasSubstr("export"))))
        << path;
  }
}

TEST(ForeignModel, WhatADownloadLeftInsteadIsSaid) {
  const TempDirectory directory;
  EXPECT_THAT(ErrorOf(directory.Write("a.onnx", "")), HasSubstr("is empty"));
  EXPECT_THAT(ErrorOf(directory.Write("a.onnx", "<!doctype html><html>Sign in</html>")),
              HasSubstr("is an HTML page"));
  EXPECT_THAT(ErrorOf(directory.Write("a.onnx", "Entry not found")),
              HasSubstr("\"Entry not found\""));
  EXPECT_THAT(ErrorOf(directory.Write("a.onnx", "\x1F\x8B\x08\x00"s)),
              HasSubstr("packed with gzip; unpack it first"));
}

}  // namespace
}  // namespace ptq
