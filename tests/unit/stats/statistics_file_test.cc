// Statistics come back bit for bit, and other files are refused.
#include "ptq/stats/statistics_file.h"

#include <random>

#include "support/temp_directory.h"
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using testing::TempDirectory;

SiteStatistics Seen(int64_t k, int64_t rows, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(k * rows));
  for (float& value : x) value = normal(random);
  SiteStatistics statistics(k);
  const std::span<const float> part = x;
  const uint64_t name = seed;
  statistics.Add({&part, 1}, {&name, 1});
  return statistics;
}

void ExpectSame(const SiteStatistics& a, const SiteStatistics& b) {
  EXPECT_EQ(a.count(), b.count());
  EXPECT_TRUE(std::ranges::equal(a.abs_sum(), b.abs_sum()));
  EXPECT_TRUE(std::ranges::equal(a.max_abs(), b.max_abs()));
  EXPECT_TRUE(std::ranges::equal(a.lowest(), b.lowest()));
  EXPECT_TRUE(std::ranges::equal(a.highest(), b.highest()));
  EXPECT_GT(a.sample().count(), 0);
  EXPECT_TRUE(std::ranges::equal(a.sample().keys(), b.sample().keys()));
  EXPECT_TRUE(std::ranges::equal(a.sample().rows(), b.sample().rows()));
  for (int64_t i = 0; i < a.k(); ++i) {
    for (int64_t j = 0; j <= i; ++j) {
      const auto at = static_cast<size_t>(i * a.k() + j);
      ASSERT_EQ(a.gram()[at], b.gram()[at]) << i << ", " << j;
    }
  }
}

const nlohmann::ordered_json kProvenance = {{"source", "abc"},
                                            {"calibration", {{"samples", 2}, {"tokens", 13}}}};

void WriteTwo(const std::filesystem::path& path) {
  StatisticsWriter writer(path, kProvenance, {{"a/b", 5}, {"c", 33}});
  writer.Write(Seen(5, 9, 1));
  writer.Write(Seen(33, 4, 2));
  writer.Close();
}

TEST(StatisticsFile, GivesBackEveryBit) {
  const TempDirectory directory;
  WriteTwo(directory.path() / "s");
  const StatisticsFile file(directory.path() / "s");
  EXPECT_EQ(file.provenance(), kProvenance);
  ASSERT_EQ(file.sites().size(), 2u);
  EXPECT_EQ(file.sites()[0].name, "a/b");
  EXPECT_EQ(file.sites()[1].k, 33);
  ExpectSame(file.Read("a/b"), Seen(5, 9, 1));
  ExpectSame(file.Read("c"), Seen(33, 4, 2));
  EXPECT_THROW((void)file.Read("d"), InputError);
}

TEST(StatisticsFile, ReadsOlderFilesWithoutTokens) {
  const TempDirectory directory;
  WriteTwo(directory.path() / "s");
  EXPECT_TRUE(StatisticsFile(directory.path() / "s").has_tokens());
  std::string bytes = ReadTextFile(directory.path() / "s");
  for (const std::string name : {"a/b/token_count", "c/token_count"}) {  // by no name that is known
    bytes[bytes.find("\"" + name + "\"") + name.size()] = 'z';
  }
  const StatisticsFile older(directory.Write("older", bytes));
  EXPECT_FALSE(older.has_tokens());
  EXPECT_EQ(older.Read("c").count(), 4);
  EXPECT_EQ(older.Read("c").sample().count(), 0);
}

TEST(StatisticsFile, AppearsWhenItIsComplete) {
  const TempDirectory directory;
  {
    StatisticsWriter writer(directory.path() / "s", kProvenance, {{"a", 5}, {"b", 5}});
    writer.Write(Seen(5, 9, 1));
    EXPECT_FALSE(std::filesystem::exists(directory.path() / "s"));
    EXPECT_THROW(writer.Close(), InternalError) << "a site is missing";
    EXPECT_THROW(writer.Write(Seen(6, 9, 1)), InternalError) << "of another width";
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

TEST(StatisticsFile, RefusesWhatIsNone) {
  const TempDirectory directory;
  WriteTwo(directory.path() / "s");
  const std::string bytes = ReadTextFile(directory.path() / "s");
  for (size_t kept = 0; kept < bytes.size(); kept += 41) {
    EXPECT_THROW(StatisticsFile(directory.Write("cut", bytes.substr(0, kept))), InputError) << kept;
  }
  EXPECT_THROW(StatisticsFile(directory.Write("text", "these are words, not statistics")),
               InputError);
  EXPECT_THROW(StatisticsFile(directory.path() / "missing"), InputError);
}

}  // namespace
}  // namespace ptq
