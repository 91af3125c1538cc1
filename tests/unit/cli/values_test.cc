// How strictly the values of options are read.
#include "options/values.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ptq {
namespace {

using ::testing::HasSubstr;

template <class Function>
std::string Refusal(Function&& function) {
  try {
    (void)function();
  } catch (const BadValue& error) {
    return error.what();
  }
  return "";
}

TEST(ParseWhole, TakesDecimalDigitsAlone) {
  EXPECT_EQ(ParseWhole("4", {}), 4);
  EXPECT_EQ(ParseWhole("-5", {.least = -10}), -5);
  for (const char* text : {"", "4.0", "1e3", "0x10", "+4", " 4", "4 ", "four", "4,0", "--4"}) {
    EXPECT_THAT(Refusal([&] { return ParseWhole(text, {}); }), HasSubstr("is not a whole number"))
        << text;
  }
}

TEST(ParseWhole, NamesTheRangeShortly) {
  EXPECT_EQ(Refusal([] { return ParseWhole("-1", {.least = 1}); }),
            "'-1' is not a whole number of 1 or more");
  EXPECT_EQ(Refusal([] { return ParseWhole("25", {.least = 0, .most = 20}); }),
            "'25' is not a whole number from 0 to 20");
  EXPECT_EQ(Refusal([] { return ParseWhole("99999999999999999999", {.least = 1}); }),
            "'99999999999999999999' is not a whole number from 1 to 2147483647");
}

TEST(ParseReal, TakesFractionsAndExponentsWithinItsRange) {
  EXPECT_EQ(ParseReal("0.25", {}), 0.25);
  EXPECT_EQ(ParseReal("1e-3", {}), 1e-3);
  for (const char* text : {"", "nan", "inf", "-1", "1e999", "0.5x", "0,5"}) {
    EXPECT_EQ(Refusal([&] { return ParseReal(text, {}); }),
              "'" + std::string(text) + "' is not a number of 0 or more");
  }
  EXPECT_EQ(Refusal([] { return ParseReal("1.5", {.least = 0, .most = 1}); }),
            "'1.5' is not a number from 0 to 1");
}

TEST(ParseSize, CountsUnitsIn1024) {
  EXPECT_EQ(ParseSize("1048576"), 1048576);
  EXPECT_EQ(ParseSize("100b"), 100);
  EXPECT_EQ(ParseSize("900MiB"), 900 * int64_t{1048576});
  EXPECT_EQ(ParseSize("3GiB"), 3 * int64_t{1073741824});
  EXPECT_EQ(ParseSize("3 gb"), ParseSize("3G"));
  EXPECT_EQ(ParseSize("1.5k"), 1536);
  for (const char* text : {"", "0", "-1", "3GB5", "3XB", "GiB", "1e9", "1.2.3", "99999999999T"}) {
    EXPECT_THAT(Refusal([&] { return ParseSize(text); }), HasSubstr("is not a size")) << text;
  }
}

TEST(FindName, IgnoresCaseAndTheKindOfDash) {
  const std::vector<std::string> names = {"blank-line", "line", "document"};
  EXPECT_EQ(FindName("Blank_Line", names), 0U);
  EXPECT_EQ(FindName("document", names), 2U);
  EXPECT_EQ(Refusal([&] { return FindName("documnet", names); }),
            "'documnet' is none of blank-line, line, document; did you mean 'document'?");
  EXPECT_EQ(Refusal([&] { return FindName("x", names); }),
            "'x' is none of blank-line, line, document");
}

TEST(Quoted, IsShortAndHasNoControlCharacters) {
  EXPECT_EQ(Quoted("a\nb\x1b[1m"), "'a?b?[1m'");
  EXPECT_LT(Quoted(std::string(5000, 'x')).size(), 100U);
}

}  // namespace
}  // namespace ptq
