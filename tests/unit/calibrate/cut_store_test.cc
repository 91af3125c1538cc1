// Activations come back the same from memory, from the scratch file and from images.
#include "ptq/calibrate/cut_store.h"

#include <cmath>
#include <limits>

#include "support/temp_directory.h"
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/parallel.h"
#include "ptq/tensor/sequence.h"

namespace ptq {
namespace {

using testing::TempDirectory;

constexpr int64_t kPlenty = int64_t{1} << 30;

Tensor Ramp(int64_t count, float step) {
  Tensor tensor(DType::kFloat32, {count});
  auto values = tensor.mutable_data<float>();
  for (size_t i = 0; i < values.size(); ++i) values[i] = step * float(int64_t(i) - count / 2);
  return tensor;
}

double LargestDifference(const Tensor& a, const Tensor& b) {
  double worst = 0;
  for (size_t i = 0; i < a.data<float>().size(); ++i) {
    worst = std::max(worst, std::abs(double(a.data<float>()[i]) - double(b.data<float>()[i])));
  }
  return worst;
}

TEST(CutStore, GivesBackWhatItHolds) {
  const TempDirectory directory;
  CutStore cuts(2, kPlenty, directory.path());
  const Tensor ids = Tensor::From<int64_t>({1, 3}, {5, -7, int64_t{1} << 40});
  const Tensor flags = Tensor::From<bool>({2}, {true, false});
  cuts.Put(1, {{3, ids}, {9, flags}, {4, Tensor(DType::kFloat32, {0, 8})}});
  const Values values = cuts.Get(1);
  ASSERT_EQ(values.size(), 3u);
  EXPECT_EQ(values.at(3).ToInt64s(), ids.ToInt64s());
  EXPECT_TRUE(values.at(9).data<bool>()[0]);
  EXPECT_EQ(values.at(4).shape(), (Shape{0, 8}));
  EXPECT_TRUE(cuts.Get(0).empty());
}

TEST(CutStore, HoldsSequencesAndEmptyOptionals) {
  const TempDirectory directory;
  CutStore cuts(1, kPlenty, directory.path());
  const Tensor inner = MakeSequence({Tensor::From<int64_t>({2}, {8, 9})});
  cuts.Put(0,
           {{1, MakeSequence({Ramp(5, 1.0f), inner})}, {2, EmptyOptional()}, {3, Ramp(3, 1.0f)}});
  const Values values = cuts.Get(0);
  ASSERT_EQ(values.size(), 3u);
  const auto& elements = ElementsOf(values.at(1));
  ASSERT_EQ(elements.size(), 2u);
  EXPECT_EQ(LargestDifference(elements[0], Ramp(5, 1.0f)), 0);
  EXPECT_EQ(ElementsOf(elements[1])[0].ToInt64s(), (std::vector<int64_t>{8, 9}));
  EXPECT_EQ(values.at(2).dtype(), kEmptyOptional);
  EXPECT_EQ(values.at(3).size(), 3);
}

TEST(CutStore, RoundsActivationsToBinary16AndNothingThatDoesNotFit) {
  const TempDirectory directory;
  CutStore cuts(1, kPlenty, directory.path());
  const Tensor usual = Ramp(999, 0.013f);
  const Tensor huge = Ramp(9, 3e4f), tiny = Ramp(9, 1e-6f);
  Tensor infinite = Ramp(9, 1.0f);
  infinite.mutable_data<float>()[2] = std::numeric_limits<float>::infinity();
  cuts.Put(0, {{0, usual}, {1, huge}, {2, tiny}, {3, infinite}});
  const Values values = cuts.Get(0);
  const double largest = 0.013 * 500;
  EXPECT_LE(LargestDifference(values.at(0), usual), largest / 2048);
  EXPECT_GT(LargestDifference(values.at(0), usual), 0);
  EXPECT_EQ(LargestDifference(values.at(1), huge), 0);
  EXPECT_EQ(LargestDifference(values.at(2), tiny), 0);
  EXPECT_TRUE(std::isinf(values.at(3).data<float>()[2]));
}

TEST(CutStore, HoldsTheSameInMemoryAndInTheFile) {
  const TempDirectory directory;
  const ThreadLimit threads(2);
  CutStore memory(20, kPlenty, directory.path());
  CutStore file(20, 5000, directory.path());
  for (const float step : {0.1f, 0.37f}) {  // the second time over what is there
    for (CutStore* cuts : {&memory, &file}) {
      ParallelFor(20, [&](int64_t i) {
        cuts->Put(size_t(i), {{7, Ramp(500 + i, step * float(i + 1))}});
      });
    }
    for (size_t i = 0; i < 20; ++i) {
      EXPECT_EQ(LargestDifference(memory.Get(i).at(7), file.Get(i).at(7)), 0) << i;
    }
  }
  EXPECT_LE(file.memory_bytes(), 5000);
  EXPECT_GT(file.file_bytes(), 15000);
  EXPECT_EQ(memory.file_bytes(), 0);
  EXPECT_TRUE(std::filesystem::is_empty(directory.path())) << "the scratch file has a name";
}

TEST(CutStore, FreesWhatIsTaken) {
  const TempDirectory directory;
  CutStore cuts(1, kPlenty, directory.path());
  cuts.Put(0, {{1, Ramp(1000, 0.5f)}});
  EXPECT_GT(cuts.memory_bytes(), 2000);
  EXPECT_EQ(cuts.Take(0).at(1).size(), 1000);
  EXPECT_EQ(cuts.memory_bytes(), 0);
  EXPECT_TRUE(cuts.Get(0).empty());
}

TEST(CutStore, SurvivesInAFile) {
  const TempDirectory directory;
  CutStore cuts(3, 100, directory.path());
  for (size_t i = 0; i < 3; ++i) cuts.Put(i, {{1, Ramp(50 * int64_t(i + 1), 0.5f)}});
  cuts.TakeImage().Save(directory.path() / "saved");
  CutStore loaded(3, kPlenty, directory.path());
  loaded.Load(directory.path() / "saved");
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(LargestDifference(loaded.Get(i).at(1), cuts.Get(i).at(1)), 0);
  }
}

TEST(CutStore, RefusesAnotherFile) {
  const TempDirectory directory;
  CutStore cuts(2, kPlenty, directory.path());
  cuts.Put(0, {{1, Ramp(100, 1.0f)}});
  cuts.TakeImage().Save(directory.path() / "saved");
  const std::string bytes = ReadTextFile(directory.path() / "saved");
  for (const size_t kept : {size_t{0}, size_t{10}, size_t{30}, bytes.size() - 1}) {
    EXPECT_THROW(cuts.Load(directory.Write("cut", bytes.substr(0, kept))), InputError) << kept;
  }
  EXPECT_THROW(cuts.Load(directory.Write("other", "something else entirely, of some length")),
               InputError);
  CutStore fewer(1, kPlenty, directory.path());
  EXPECT_THROW(fewer.Load(directory.path() / "saved"), InputError);
}

TEST(CutStore, AnImageInMemoryIsWhatWasThere) {
  const TempDirectory directory;
  CutStore cuts(1, 1 << 20, directory.path());
  cuts.Put(0, {{3, Tensor::From<float>({2}, {1, 2})}});
  const CutStore::Image image = cuts.TakeImage();
  EXPECT_TRUE(image.IsLasting());
  (void)cuts.Take(0);
  cuts.Put(0, {{3, Tensor::From<float>({2}, {5, 6})}});
  image.Save(directory.path() / "saved");
  cuts.Load(directory.path() / "saved");
  EXPECT_EQ(cuts.Get(0).at(3).data<float>()[1], 2);
}

TEST(CutStore, AnImageOfTheScratchFileDoesNotLast) {
  const TempDirectory directory;
  CutStore cuts(1, 0, directory.path());
  cuts.Put(0, {{3, Tensor::From<float>({2}, {1, 2})}});
  EXPECT_FALSE(cuts.TakeImage().IsLasting());
}

}  // namespace
}  // namespace ptq
