// One process alone is the root, and its exchanges change nothing.
#include "ptq/base/ranks.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ptq/base/memory.h"

namespace ptq {
namespace {

// The exchanges of several ranks are tested with mpirun, by tests/mpi.

TEST(Ranks, OneProcessIsTheRoot) {
  const Ranks ranks = Ranks::Alone();
  EXPECT_EQ(ranks.rank(), 0);
  EXPECT_EQ(ranks.size(), 1);
  EXPECT_TRUE(ranks.is_root());
  EXPECT_EQ(ranks.threads(), 0);
}

TEST(Ranks, ExchangesOfOneChangeNothing) {
  Ranks ranks = Ranks::Alone();
  std::vector<float> floats = {1, 2};
  std::vector<double> doubles = {3};
  std::vector<int64_t> integers = {4};
  std::string text = "five";
  ranks.Sum(floats, 0);
  ranks.Max(floats, 0);
  ranks.Sum(doubles, 0);
  ranks.Sum(integers, 0);
  ranks.Max(integers, 0);
  ranks.Copy(text, 0, Ranks::kEveryone);
  ranks.Copy(std::as_writable_bytes(std::span(integers)), 0, 0);
  ranks.Agree();
  EXPECT_EQ(floats, (std::vector<float>{1, 2}));
  EXPECT_EQ(doubles, (std::vector<double>{3}));
  EXPECT_EQ(integers, (std::vector<int64_t>{4}));
  EXPECT_EQ(text, "five");
}

TEST(Ranks, OneReportsItsOwnFailure) {
  Ranks ranks = Ranks::Alone();
  ExitCode code = ExitCode::kInput;
  EXPECT_TRUE(ranks.Fail(code));
  EXPECT_EQ(code, ExitCode::kInput);
}

TEST(Ranks, ThePeakOfOneIsItsOwn) {
  Ranks ranks = Ranks::Alone();
  const int64_t peak = PeakResidentBytes(ranks);
  EXPECT_GE(PeakResidentBytes(), peak);
}

}  // namespace
}  // namespace ptq
