// How columns are aligned and numbers written.
#include "ptq/report/table.h"

#include <limits>

#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

TEST(TextTable, AlignsColumnsWithoutTrailingBlanks) {
  TextTable table(
      {{"name", TextTable::Align::kLeft}, {"size", TextTable::Align::kRight}, {"note"}});
  table.AddRow({"a", "1", ""});
  table.AddRow({"longer", "12345", "x"});
  EXPECT_EQ(table.Text(),
            "name     size  note\n"
            "a           1\n"
            "longer  12345  x\n");
}

TEST(TextTable, CountsCharactersNotBytes) {
  TextTable table({{"a"}, {"b"}});
  table.AddRow({"é", "1"});
  table.AddRow({"ee", "2"});
  EXPECT_EQ(table.Text(), "a   b\né   1\nee  2\n");
}

TEST(TextTable, RefusesRowsOfAnotherLength) {
  TextTable table({{"a"}, {"b"}});
  EXPECT_THROW(table.AddRow({"only one"}), InternalError);
}

TEST(FormatPercent, KeepsDigitsOfSmallRatios) {
  EXPECT_EQ(FormatPercent(0.125), "12.5 %");
  EXPECT_EQ(FormatPercent(0.000021), "0.0021 %");
  EXPECT_EQ(FormatPercent(0), "0.0 %");
  EXPECT_EQ(FormatPercent(1), "100.0 %");
  EXPECT_EQ(FormatPercent(std::numeric_limits<double>::quiet_NaN()), "-");
}

TEST(FormatNumber, KeepsSignificantDigits) {
  EXPECT_EQ(FormatNumber(0.01234), "0.0123");
  EXPECT_EQ(FormatNumber(0.0000123, 2), "1.2e-05");
  EXPECT_EQ(FormatNumber(std::numeric_limits<double>::infinity()), "-");
}

}  // namespace
}  // namespace ptq
