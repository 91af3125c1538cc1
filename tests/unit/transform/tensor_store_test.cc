// Where tensors are stored, under which names, and that equal ones are stored once.
#include "ptq/transform/tensor_store.h"

#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
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

TEST(TensorStore, KeepsWhatIsStreamedApart) {
  const testing::TempDirectory directory;
  TensorStore store(directory.path() / kData);
  const auto bytes = Bytes(4096, 1);
  const auto stream = [&](const std::string& name) {
    return store.Stream(name, DType::kUint8, {4096},
                        [&](const TensorSink::Write& write) { write(bytes); });
  };
  EXPECT_EQ(stream("a"), "a");
  EXPECT_EQ(store.Add("b", DType::kUint8, {4096}, bytes), "b");
  EXPECT_EQ(stream("c"), "c");
  EXPECT_EQ(store.Add("d", DType::kUint8, {4096}, bytes), "b");
  EXPECT_EQ(store.bytes_written(), 3 * 4096);
}

TEST(TensorStore, GivesWhatStandsAloneANameButNotItsBytesAgain) {
  const testing::TempDirectory directory;
  TensorStore store(directory.path() / kData);
  const auto bytes = Bytes(4096, 1);
  const auto packed = [&] { return bytes; };
  EXPECT_EQ(store.Add("a", DType::kUint8, {4096}, bytes), "a");
  EXPECT_EQ(store.AddAlone("b", DType::kUint8, {4096}, packed, ""), "b") << "others read 'a'";
  EXPECT_EQ(store.AddAlone("b", DType::kUint8, {4096}, packed, ""), "b_2");
  EXPECT_EQ(store.Add("c", DType::kUint8, {4096}, bytes), "a") << "nothing else reads 'b'";
  EXPECT_EQ(store.AddAlone(
                "d", DType::kUint8, {16}, [] { return Bytes(16, 1); }, ""),
            "d");
  EXPECT_EQ(store.AddAlone(
                "d", DType::kUint8, {16}, [] { return Bytes(16, 1); }, ""),
            "d_2");
  EXPECT_EQ(store.bytes_written(), 2 * 4096 + 2 * 16) << "within the model file";
  store.Close();
  const auto& tensors = store.initializers();
  ASSERT_EQ(tensors.size(), 5u);
  EXPECT_NE(EntryOf(tensors[0], "offset"), EntryOf(tensors[1], "offset"));
  EXPECT_EQ(EntryOf(tensors[1], "offset"), EntryOf(tensors[2], "offset"));
  const WeightReader reader(directory.path() / "model.onnx");
  EXPECT_TRUE(std::ranges::equal(reader.Read(tensors[2]).bytes(), bytes));
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

std::string LocationOf(const onnx::TensorProto& tensor) {
  for (const auto& entry : tensor.external_data()) {
    if (entry.key() == "location") return entry.value();
  }
  return "";
}

/// Streams tensors of these sizes, numbered from `first`, and tells where they lie.
std::vector<std::string> PlacesOf(TensorStore& store, const std::vector<int64_t>& sizes,
                                  int first = 0) {
  std::vector<std::string> places;
  for (size_t i = 0; i < sizes.size(); ++i) {
    const int seed = first + int(i);
    (void)store.Stream(
        "t" + std::to_string(seed), DType::kUint8, {sizes[i]},
        [&](const TensorSink::Write& write) { write(Bytes(size_t(sizes[i]), seed)); });
    const onnx::TensorProto& tensor = store.initializers().back();
    places.push_back(LocationOf(tensor) + "@" + std::to_string(EntryOf(tensor, "offset")));
  }
  return places;
}

TEST(TensorStore, BeginsAnotherFileWhereATensorWouldNotFit) {
  const testing::TempDirectory directory;
  TensorStore store(directory.path() / kData, 40000);
  const std::vector<std::string> expected = {"model.onnx.data@0",        // 2000
                                             "model.onnx.data@4096",     // 20000, of pages
                                             "model.onnx.data@24128",    // 15872: exactly full
                                             "model.onnx.data_1@0",      // 2000
                                             "model.onnx.data_2@0",      // 50000: alone
                                             "model.onnx.data_3@0",      // 39000
                                             "model.onnx.data_4@0",      // 1024
                                             "model.onnx.data_4@1024"};  // 2000
  EXPECT_EQ(PlacesOf(store, {2000, 20000, 15872, 2000, 50000, 39000, 1024, 2000}), expected);
  store.Close();
  EXPECT_EQ(store.files(), (std::vector<int64_t>{40000, 2000, 50000, 39000, 3024}));
  const WeightReader reader(directory.path() / "model.onnx");
  for (size_t i = 0; i < store.initializers().size(); ++i) {
    const Tensor read = reader.Read(store.initializers()[i]);
    EXPECT_TRUE(std::ranges::equal(read.bytes(), Bytes(read.bytes().size(), int(i)))) << i;
  }
  for (size_t i = 0; i < store.files().size(); ++i) {
    EXPECT_EQ(std::filesystem::file_size(DataFile(directory.path() / kData, i)), store.files()[i]);
  }
}

TEST(TensorStore, MeasuresTheFilesThatItWouldWrite) {
  const testing::TempDirectory directory;
  const std::vector<int64_t> sizes = {2000, 20000, 15872, 512, 2000, 50000, 70000, 1100};
  TensorStore store(directory.path() / kData, 40000), draft(directory.path() / kData, 40000);
  draft.OnlyMeasure();
  const auto places = PlacesOf(store, sizes);
  EXPECT_EQ(PlacesOf(draft, sizes), places);
  EXPECT_EQ(draft.files(), store.files());
}

TEST(TensorStore, FindsEqualTensorsInEarlierFiles) {
  const testing::TempDirectory directory;
  TensorStore store(directory.path() / kData, 5000);
  const auto bytes = Bytes(4096, 1);
  EXPECT_EQ(store.Add("a", DType::kUint8, {4096}, bytes), "a");
  EXPECT_EQ(store.Add("b", DType::kUint8, {4096}, Bytes(4096, 2)), "b");
  EXPECT_EQ(store.Add("c", DType::kUint8, {4096}, bytes), "a");
  EXPECT_EQ(store.AddAlone(
                "d", DType::kUint8, {4096}, [&] { return bytes; }, ""),
            "d");
  EXPECT_EQ(store.AddAlone(
                "e", DType::kUint8, {4096}, [&] { return bytes; }, ""),
            "e");
  EXPECT_EQ(LocationOf(store.initializers()[0]), "model.onnx.data");
  EXPECT_EQ(LocationOf(store.initializers()[1]), "model.onnx.data_1");
  EXPECT_EQ(LocationOf(store.initializers()[3]), LocationOf(store.initializers()[2]));
}

TEST(TensorStore, GoesOnInTheFileOfARecord) {
  const std::vector<int64_t> before = {2000, 3000, 4000}, after = {1500, 3000, 4500};
  const testing::TempDirectory whole, broken;
  TensorStore undisturbed(whole.path() / kData, 8192);
  (void)PlacesOf(undisturbed, before);
  const auto expected = PlacesOf(undisturbed, after, 3);
  undisturbed.Close();
  StoreRecord record;
  {
    TensorStore store(broken.path() / kData, 8192);
    (void)PlacesOf(store, before);
    record = store.TakeRecord();
    (void)PlacesOf(store, {7000, 7000}, 77);  // lost, but for the files
  }
  EXPECT_EQ(record.files.size(), 2u);
  TensorStore store(broken.path() / kData, 8192);
  store.RestoreTensors(record);
  EXPECT_THROW((void)PlacesOf(store, {2000}), InternalError);
  store.RestoreNames(record);
  store.Continue();
  EXPECT_EQ(PlacesOf(store, after, 3), expected);
  store.Close();
  ASSERT_EQ(store.files(), undisturbed.files());
  for (size_t i = 0; i < store.files().size(); ++i) {
    EXPECT_EQ(ReadTextFile(DataFile(broken.path() / kData, i)),
              ReadTextFile(DataFile(whole.path() / kData, i)));
  }
}

TEST(TensorStore, RefusesMoreFilesThanAreRead) {
  const testing::TempDirectory directory;
  TensorStore draft(directory.path() / kData, 1500);
  draft.OnlyMeasure();
  (void)PlacesOf(draft, std::vector<int64_t>(kMostDataFiles, 1400));
  EXPECT_THROW((void)PlacesOf(draft, {1400}, 100), UsageError);
}

}  // namespace
}  // namespace ptq
