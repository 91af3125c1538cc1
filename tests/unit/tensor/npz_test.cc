// Arrays that are written and read back, and .npy files that are put together here.
#include "ptq/tensor/npz.h"

#include <string>

#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/file.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;
using testing::TempDirectory;

/// A .npy file with the header's dictionary as given.
std::string Npy(const std::string& dictionary, const std::string& data, char version = 1) {
  std::string header = dictionary + "\n";
  std::string text = "\x93NUMPY";
  text += version;
  text += '\0';
  text += static_cast<char>(header.size());
  text += '\0';
  if (version > 1) text += std::string(2, '\0');
  return text + header + data;
}

std::string Int16s(std::initializer_list<int16_t> values) {
  return {reinterpret_cast<const char*>(values.begin()), values.size() * sizeof(int16_t)};
}

TEST(Npz, ReadsBackWhatItWrote) {
  const TempDirectory directory;
  const auto path = directory.path() / "a.npz";
  const std::map<std::string, Tensor> arrays = {
      {"floats", Tensor::From<float>({2, 2}, {1, -2, 3.5f, 4})},
      {"ids", Tensor::From<int64_t>({3}, {1, 2, 1LL << 40})},
      {"scalar", Tensor::Scalar<uint8_t>(7)},
      {"empty", Tensor(DType::kFloat32, {0, 4})},
      {"flags", Tensor::From<bool>({2}, {true, false})},
      {"half", Tensor::From<float>({2}, {0.5f, 2}).Cast(DType::kFloat16)}};
  WriteNpz(path, arrays);
  const auto read = ReadNpz(path);
  ASSERT_EQ(read.size(), arrays.size());
  for (const auto& [name, expected] : arrays) {
    const Tensor& actual = read.at(name);
    EXPECT_EQ(actual.dtype(), expected.dtype()) << name;
    EXPECT_EQ(actual.shape(), expected.shape()) << name;
    EXPECT_TRUE(std::ranges::equal(actual.bytes(), expected.bytes())) << name;
  }
}

TEST(Npz, RefusesOtherFilesAndTypes) {
  const TempDirectory directory;
  EXPECT_THROW((void)ReadNpz(directory.path() / "missing.npz"), InputError);
  EXPECT_THROW((void)ReadNpz(directory.Write("text.npz", "not an archive")), InputError);
  EXPECT_THROW(WriteNpz(directory.path() / "no" / "a.npz", {{"x", Tensor::Scalar(1.0f)}}),
               OutputError);
  EXPECT_THROW(WriteNpz(directory.path() / "a.npz", {{"x", Tensor(DType::kInt4, {2})}}),
               UnsupportedError);
}

TEST(Npy, ReadsEveryFormatVersion) {
  const TempDirectory directory;
  for (const char version : {'\1', '\2', '\3'}) {
    const auto path =
        directory.Write("a.npy", Npy("{'descr': '<i2', 'fortran_order': False, 'shape': (2,), }",
                                     Int16s({-5, 300}), version));
    EXPECT_THAT(ReadNpy(path).data<int16_t>(), ElementsAre(-5, 300));
  }
}

TEST(Npy, TurnsFortranOrderIntoRowMajor) {
  const TempDirectory directory;
  // [[1, 2, 3], [4, 5, 6]] column by column.
  const auto path =
      directory.Write("f.npy", Npy("{'descr': '<i2', 'fortran_order': True, 'shape': (2, 3), }",
                                   Int16s({1, 4, 2, 5, 3, 6})));
  const Tensor tensor = ReadNpy(path);
  EXPECT_EQ(tensor.shape(), (Shape{2, 3}));
  EXPECT_THAT(tensor.data<int16_t>(), ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST(Npy, RefusesMalformedFiles) {
  const TempDirectory directory;
  const std::string good =
      Npy("{'descr': '<i2', 'fortran_order': False, 'shape': (2,), }", Int16s({1, 2}));
  const std::string bad[] = {
      "",
      "text",
      good.substr(0, 8),
      good.substr(0, 30),
      good.substr(0, good.size() - 1),
      Npy("{'fortran_order': False, 'shape': (2,)}", Int16s({1, 2})),
      Npy("{'descr': '<i2', 'shape': (2,)}", Int16s({1, 2})),
      Npy("{'descr': '<i2', 'fortran_order': False}", Int16s({1, 2})),
      Npy("{'descr': '<i2', 'fortran_order': False, 'shape': (-2,)}", Int16s({1, 2})),
      Npy("{'descr': '<i2', 'fortran_order': False, 'shape': (x,)}", Int16s({1, 2})),
      Npy("{'descr': '>i2', 'fortran_order': False, 'shape': (2,)}", Int16s({1, 2})),
      Npy("{'descr': '<U4', 'fortran_order': False, 'shape': (2,)}", Int16s({1, 2})),
      Npy("{'fortran_order': False, 'shape': (2,), 'descr': '", ""),
      Npy("{'fortran_order': False, 'shape': (2,), 'descr': ", ""),
      Npy("{'descr': '<i2', 'fortran_order': False, 'shape': (1000000000000000,)}", ""),
      Npy("{'descr': '<i2', 'fortran_order': False, 'shape': (4294967296, 4294967296)}", ""),
  };
  for (const std::string& content : bad) {
    EXPECT_THROW((void)ReadNpy(directory.Write("bad.npy", content)), InputError) << content;
  }
}

TEST(Npz, RefusesEntriesThatDeclareMoreThanTheyHold) {
  const TempDirectory directory;
  const auto path = directory.path() / "a.npz";
  WriteNpz(path, {{"x", Tensor::From<float>({2}, {1, 2})}});
  std::string bytes = ReadTextFile(path);
  const size_t entry = bytes.find("PK\x01\x02");  // of the archive's directory
  ASSERT_NE(entry, std::string::npos);
  constexpr size_t kSizeAt = 24;
  bytes.replace(entry + kSizeAt, 4, std::string("\xf0\xff\xff\xef", 4));
  EXPECT_THROW((void)ReadNpz(directory.Write("b.npz", bytes)), InputError);
}

}  // namespace
}  // namespace ptq
