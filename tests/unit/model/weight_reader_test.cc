// Where elements are read from, and which external data are refused.
#include <barrier>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/model/model.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::TempDirectory;

onnx::TensorProto External(const std::string& location, const std::string& offset = "",
                           const std::string& length = "") {
  onnx::TensorProto proto;
  proto.set_name("weight");
  proto.set_data_type(onnx::TensorProto::FLOAT);
  proto.add_dims(2);
  proto.set_data_location(onnx::TensorProto::EXTERNAL);
  const auto add = [&](const char* key, const std::string& value) {
    auto* entry = proto.add_external_data();
    entry->set_key(key);
    entry->set_value(value);
  };
  add("location", location);
  if (!offset.empty()) add("offset", offset);
  if (!length.empty()) add("length", length);
  return proto;
}

std::string Floats(std::initializer_list<float> values) {
  return {reinterpret_cast<const char*>(values.begin()), values.size() * sizeof(float)};
}

class ExternalData : public ::testing::Test {
 protected:
  ExternalData() {
    directory_.Write("outside.data", Floats({1, 2}));
    directory_.Write("model/w.data", Floats({0, 1, 2, 3}));
  }
  void ExpectRefused(const onnx::TensorProto& proto, const std::string& words) {
    try {
      (void)reader_.Read(proto);
      ADD_FAILURE() << "nothing was thrown";
    } catch (const InputError& error) {
      EXPECT_THAT(error.what(), HasSubstr(words));
      EXPECT_THAT(error.what(), HasSubstr("weight"));
    }
  }
  TempDirectory directory_;
  WeightReader reader_{directory_.path() / "model" / "model.onnx"};
};

TEST_F(ExternalData, IsReadAtItsOffset) {
  EXPECT_THAT(reader_.Read(External("w.data", "4", "8")).data<float>(), ElementsAre(1, 2));
  EXPECT_THAT(reader_.Read(External("w.data")).data<float>(), ElementsAre(0, 1));
  const auto proto = External("w.data", "8");
  const Tensor tensor = reader_.Read(proto);
  reader_.Drop(proto);
  EXPECT_THAT(tensor.data<float>(), ElementsAre(2, 3));
}

TEST_F(ExternalData, IsReadAtAMisalignedOffset) {
  directory_.Write("model/odd.data", "x" + Floats({5, 6}));
  EXPECT_THAT(reader_.Read(External("odd.data", "1")).data<float>(), ElementsAre(5, 6));
}

TEST_F(ExternalData, IsCopiedOnlyWhereItLiesMisaligned) {
  directory_.Write("model/odd.data", "x" + Floats({5, 6, 7, 8}));
  EXPECT_EQ(reader_.CopiedBytes(External("w.data", "4", "8")), 0);
  EXPECT_EQ(reader_.CopiedBytes(External("odd.data", "1")), 8);
  EXPECT_EQ(reader_.CopiedBytes(External("odd.data", "4")), 0);
  onnx::TensorProto held = External("w.data");
  held.clear_data_location();
  EXPECT_EQ(reader_.CopiedBytes(held), 0);
}

TEST_F(ExternalData, IsRefusedWhenMissingOrTruncated) {
  ExpectRefused(External("none.data"), "missing");
  ExpectRefused(External("w.data", "12"), "truncated");
  ExpectRefused(External("w.data", "100"), "truncated");
  ExpectRefused(External("w.data", "0", "4"), "too short");
  ExpectRefused(External("w.data", "0", "64"), "truncated");
  ExpectRefused(External("w.data", "9223372036854775807", "8"), "truncated");
}

TEST_F(ExternalData, IsRefusedOutsideTheModelsDirectory) {
  ExpectRefused(External((directory_.path() / "outside.data").string()), "outside");
  ExpectRefused(External("../outside.data"), "outside");
  ExpectRefused(External("sub/../../outside.data"), "outside");
  std::filesystem::create_symlink(directory_.path() / "outside.data",
                                  directory_.path() / "model" / "link.data");
  ExpectRefused(External("link.data"), "outside");
}

TEST_F(ExternalData, IsRefusedWithoutSensibleKeys) {
  ExpectRefused(External(""), "location");
  ExpectRefused(External("w.data", "-4"), "byte count");
  ExpectRefused(External("w.data", "4x"), "byte count");
}

TEST(WeightReader, ReadsTypedFields) {
  const WeightReader reader{std::filesystem::path()};
  onnx::TensorProto proto;
  proto.set_data_type(onnx::TensorProto::FLOAT16);
  proto.add_dims(2);
  proto.add_int32_data(0x3c00);
  proto.add_int32_data(0xc000);
  EXPECT_THAT(reader.Read(proto).ToFloat32().data<float>(), ElementsAre(1, -2));
  proto.add_int32_data(0);
  EXPECT_THROW((void)reader.Read(proto), InputError);
}

TEST(WeightReader, RefusesRawDataThatIsTooShort) {
  const WeightReader reader{std::filesystem::path()};
  onnx::TensorProto proto;
  proto.set_data_type(onnx::TensorProto::INT64);
  proto.add_dims(2);
  proto.set_raw_data(std::string(15, '\0'));
  EXPECT_THROW((void)reader.Read(proto), InputError);
}

TEST(WeightReader, ReadsForSeveralThreadsAtOnceAndMapsEachFileOnce) {
  constexpr int kThreads = 8;
  constexpr int kFiles = 64;
  const TempDirectory directory;
  std::vector<onnx::TensorProto> tensors;
  for (int i = 0; i < kFiles; ++i) {
    const std::string file = std::to_string(i) + ".data";
    directory.Write(file, Floats({float(i), float(-i)}));
    tensors.push_back(External(file));
  }
  const WeightReader reader(directory.path() / "model.onnx");
  std::vector<std::vector<Tensor>> read(kThreads);
  std::barrier start(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      start.arrive_and_wait();
      for (const auto& tensor : tensors) read[size_t(t)].push_back(reader.Read(tensor));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int t = 0; t < kThreads; ++t) {
    for (size_t i = 0; i < kFiles; ++i) {
      EXPECT_THAT(read[size_t(t)][i].data<float>(), ElementsAre(float(i), -float(i)));
      EXPECT_EQ(read[size_t(t)][i].bytes().data(), read[0][i].bytes().data());
    }
  }
}

}  // namespace
}  // namespace ptq
