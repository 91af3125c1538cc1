// How the modules behind a model are read, what they compute, and which are refused.
#include "ptq/evaluate/sentence_modules.h"

#include <cmath>
#include <cstring>

#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/base/half.h"

namespace ptq {
namespace {

using ::testing::DoubleEq;
using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr const char* kTransformer =
    R"({"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"})";

std::string Module(const std::string& kind, const std::string& path) {
  return R"(, {"name": "x", "path": ")" + path + R"(", "type": "sentence_transformers.models.)" +
         kind + "\"}";
}

/// A folder with a model and modules.json.
class Package {
 public:
  explicit Package(const std::string& modules) {
    Write("modules.json", std::string("[") + kTransformer + modules + "]");
    Write("1_Pooling/config.json",
          R"({"word_embedding_dimension": 2, "pooling_mode_cls_token": false,
              "pooling_mode_max_tokens": true, "pooling_mode_mean_tokens": true,
              "include_prompt": true})");
    Write("onnx/model.onnx", "");
  }
  void Write(const std::string& name, const std::string& content) {
    std::filesystem::create_directories((directory_.path() / name).parent_path());
    directory_.Write(name, content);
  }
  [[nodiscard]] std::optional<SentenceModules> Find() const {
    return SentenceModules::Find(directory_.path() / "onnx/model.onnx");
  }
  [[nodiscard]] std::string Error() const {
    try {
      (void)Find();
    } catch (const ptq::Error& error) {
      return error.what();
    }
    return "no error";
  }

 private:
  testing::TempDirectory directory_;
};

template <class T>
std::string Bytes(const std::vector<T>& values) {
  std::string bytes(values.size() * sizeof(T), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

std::string Safetensors(const std::string& header, const std::string& data) {
  return Bytes(std::vector<uint64_t>{header.size()}) + header + data;
}

/// A dense layer [1, 4] with a bias of 1.
std::string DenseWeights(const std::string& type = "F32", int bytes = 4) {
  const std::string data =
      bytes == 4 ? Bytes<float>({1, 2, 3, 4, 1})
                 : Bytes<Half>({ToHalf(1), ToHalf(2), ToHalf(3), ToHalf(4), ToHalf(1)});
  const auto end = std::to_string(4 * bytes), all = std::to_string(5 * bytes);
  return Safetensors(R"({"__metadata__": {"format": "pt"}, "linear.weight": {"dtype": ")" + type +
                         R"(", "shape": [1, 4], "data_offsets": [0, )" + end +
                         R"(]}, "linear.bias": {"dtype": ")" + type +
                         R"(", "shape": [1], "data_offsets": [)" + end + ", " + all + "]}}",
                     data);
}

const std::vector<float> kTwoStates = {1, 4, 3, -2};  // max (3, 4), mean (2, 1)

TEST(SentenceModules, AreNotThereWithoutTheFile) {
  const testing::TempDirectory directory;
  EXPECT_FALSE(SentenceModules::Find(directory.Write("model.onnx", "")).has_value());
}

TEST(SentenceModules, PutWaysOfPoolingOneBehindTheOther) {
  const Package package(Module("Pooling", "1_Pooling") + Module("Normalize", "2_Normalize"));
  const auto modules = package.Find();
  ASSERT_TRUE(modules.has_value());
  EXPECT_EQ(modules->Description(), "max + mean");
  const double norm = std::sqrt(30.0);
  EXPECT_THAT(modules->Apply(kTwoStates, 2), ElementsAre(DoubleEq(3 / norm), DoubleEq(4 / norm),
                                                         DoubleEq(2 / norm), DoubleEq(1 / norm)));
}

TEST(SentenceModules, ReadTheWordsOfNewerVersions) {
  Package package(Module("Pooling", "1_Pooling"));
  package.Write("1_Pooling/config.json", R"({"pooling_mode": "lasttoken"})");
  EXPECT_EQ(package.Find()->Description(), "last");
  package.Write("1_Pooling/config.json", R"({"pooling_mode": ["mean", "cls"]})");
  EXPECT_EQ(package.Find()->Description(), "cls + mean");
}

TEST(SentenceModules, ApplyADenseLayerOfAnyFloatType) {
  Package package(Module("Pooling", "1_Pooling") + Module("Dense", "2_Dense"));
  package.Write("2_Dense/config.json",
                R"({"activation_function": "torch.nn.modules.linear.Identity"})");
  for (const auto& [type, bytes] : {std::pair{"F32", 4}, std::pair{"F16", 2}}) {
    package.Write("2_Dense/model.safetensors", DenseWeights(type, bytes));
    EXPECT_EQ(package.Find()->Description(), "max + mean, dense 1 x 4");
    EXPECT_THAT(package.Find()->Apply(kTwoStates, 2), ElementsAre(3 + 8 + 6 + 4 + 1));
  }
  package.Write("2_Dense/config.json",
                R"({"activation_function": "torch.nn.modules.activation.Tanh"})");
  EXPECT_THAT(package.Find()->Apply(std::vector<float>{-0.25, 0}, 2),
              ElementsAre(DoubleNear(std::tanh(0.0), 1e-12)));
  EXPECT_THROW((void)package.Find()->Apply(std::vector<float>{1, 2, 3}, 3), InputError);
}

TEST(SentenceModules, LieWithinThePackage) {
  for (const char* path : {"../1_Pooling", "/etc", "1_Pooling/../.."}) {
    EXPECT_THAT(Package(Module("Pooling", path)).Error(), HasSubstr("outside")) << path;
  }
}

TEST(SentenceModules, SayWhatCannotBeRead) {
  EXPECT_THAT(Package(Module("CNN", "1_CNN")).Error(), HasSubstr("module 'CNN' is not known"));
  Package package(Module("Pooling", "1_Pooling") + Module("Dense", "2_Dense"));
  EXPECT_THAT(package.Error(), HasSubstr("2_Dense"));
  package.Write("2_Dense/config.json", "{}");
  EXPECT_THAT(package.Error(), HasSubstr("model.safetensors"));
  package.Write("2_Dense/model.safetensors", "short");
  EXPECT_THAT(package.Error(), HasSubstr("not a safetensors file"));
  package.Write("2_Dense/model.safetensors", Safetensors("{}", ""));
  EXPECT_THAT(package.Error(), HasSubstr("no linear.weight"));
  package.Write("2_Dense/model.safetensors",
                Safetensors(R"({"linear.weight": {"dtype": "F32", "shape": [4611686018427387904, 4],
                                "data_offsets": [0, 0]}})",
                            ""));
  EXPECT_THAT(package.Error(), HasSubstr("do not agree"));
  package.Write("2_Dense/model.safetensors",
                Safetensors(R"({"linear.weight": {"dtype": "F32", "shape": [1, 1],
                                "data_offsets": [0, 4]}})",
                            ""));
  EXPECT_THAT(package.Error(), HasSubstr("do not agree"));
  package.Write("2_Dense/config.json", R"({"activation_function": "Other"})");
  EXPECT_THAT(package.Error(), HasSubstr("activation 'Other'"));
  package.Write("1_Pooling/config.json", "{}");
  EXPECT_THAT(package.Error(), HasSubstr("--pooling"));
  package.Write("modules.json", "{");
  EXPECT_THAT(package.Error(), HasSubstr("not valid JSON"));
  package.Write("modules.json", "[{}]");
  EXPECT_THAT(package.Error(), HasSubstr("modules.json"));
}

}  // namespace
}  // namespace ptq
