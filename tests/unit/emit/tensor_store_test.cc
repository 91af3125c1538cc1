// Where tensors are stored, under which names, and that equal ones are stored once.
#include "tensor_store.h"

#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/model/model.h"

namespace ptq {
namespace {

std::vector<std::byte> Bytes(size_t count, int seed) {
  std::vector<std::byte> bytes(count);
  for (size_t i = 0; i < count; ++i) bytes[i] = std::byte(uint8_t(i * 7 + size_t(seed)));
  return bytes;
}

constexpr char kData[] = "model.onnx.data";

int64_t EntryOf(const onnx::TensorProto& tensor, const std::string& key) {
  for (const auto& entry : tensor.external_data()) {
    if (entry.key() == key) return std::stoll(entry.value());
  }
  return -1;
}

TEST(TensorStore, KeepsSmallTensorsInlineAndAlignsTheOthers) {
  const testing::TempDirectory directory;
  TensorStore store(directory.path() / kData);
  (void)store.Add("small", DType::kUint8, {1023}, Bytes(1023, 1));
  EXPECT_FALSE(std::filesystem::exists(directory.path() / kData));
  (void)store.Add("middle", DType::kUint8, {1025}, Bytes(1025, 2));
  (void)store.Add("page", DType::kUint8, {20000}, Bytes(20000, 3));
  (void)store.Add("large", DType::kUint8, {1 << 20}, Bytes(1 << 20, 4));
  store.Close();
  auto& tensors = store.initializers();
  ASSERT_EQ(tensors.size(), 4u);
  EXPECT_EQ(tensors[0].raw_data().size(), 1023u);
  EXPECT_EQ(EntryOf(tensors[1], "offset") % 64, 0);
  EXPECT_EQ(EntryOf(tensors[2], "offset") % 4096, 0);
  EXPECT_EQ(EntryOf(tensors[3], "offset") % 65536, 0);
  const WeightReader reader(directory.path() / "model.onnx");
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Tensor read = reader.Read(tensors[i]);
    const auto expected = Bytes(read.bytes().size(), int(i) + 1);
    EXPECT_TRUE(std::ranges::equal(read.bytes(), expected)) << tensors[i].name();
  }
}

TEST(TensorStore, StoresEqualTensorsOnce) {
  const testing::TempDirectory directory;
  TensorStore store(directory.path() / kData);
  const auto bytes = Bytes(4096, 1);
  EXPECT_EQ(store.Add("a", DType::kUint8, {4096}, bytes), "a");
  EXPECT_EQ(store.Add("b", DType::kUint8, {4096}, bytes), "a");
  EXPECT_EQ(store.Add("b", DType::kUint8, {64, 64}, bytes), "b") << "another shape";
  EXPECT_EQ(store.Add("b", DType::kInt8, {4096}, bytes), "b_2") << "another type";
  EXPECT_EQ(store.bytes_written(), 3 * 4096);
}

TEST(TensorStore, AvoidsNamesThatTheGraphUses) {
  const testing::TempDirectory directory;
  TensorStore store(directory.path() / kData);
  store.Reserve("w");
  store.Reserve("w_2");
  EXPECT_EQ(store.UniqueName("w"), "w_3");
}

TEST(TensorStore, RefusesToLieAboutATensorsSize) {
  const testing::TempDirectory directory;
  TensorStore store(directory.path() / kData);
  onnx::TensorProto tensor;
  EXPECT_THROW(store.Store(tensor, 2000, [](const TensorStore::Write&) {}), InternalError);
}

}  // namespace
}  // namespace ptq
