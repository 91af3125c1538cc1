// How help is laid out.
#include "help/help.h"

#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ptq {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(Wrapped, BreaksAtBlanksAndIndents) {
  EXPECT_EQ(Wrapped("one two three four", 11, 2, 0), "one two\n  three\n  four");
  EXPECT_EQ(Wrapped("one two", 80, 2, 0), "one two");
  EXPECT_EQ(Wrapped("", 80, 2, 0), "");
}

TEST(Wrapped, CountsWhatStandsBefore) { EXPECT_EQ(Wrapped("one two", 12, 4, 6), "one\n    two"); }

TEST(Wrapped, LeavesLongWordsWhole) {
  EXPECT_EQ(Wrapped("a incomprehensibilities b", 10, 0, 0), "a\nincomprehensibilities\nb");
}

TEST(Wrapped, CountsCharactersNotBytes) { EXPECT_EQ(Wrapped("äöü äöü", 7, 0, 0), "äöü äöü"); }

TEST(FittedSummary, GoesOnBelowTheTextAndLeavesCodeWhole) {
  EXPECT_EQ(FittedSummary("time          one two three four\n"
                          "size          short\n"
                          "load it       import one as two, three\n"
                          "              print(one, two, three)\n",
                          24),
            "time          one two\n              three four\n"
            "size          short\n"
            "load it       import one as two, three\n"
            "              print(one, two, three)\n");
}

class Help : public ::testing::TestWithParam<size_t> {
 protected:
  Help() {
    app_.add_option("src", source_, "The model")->group("Input");
    app_.add_option("-n,--count", count_, "How many of them are to be taken from the whole list")
        ->type_name("N")
        ->default_str("3")
        ->group("Choice");
    app_.add_option("--kind", kind_, "Which")
        ->type_name("red|orange|yellow|green|blue")
        ->group("Choice");
    app_.add_flag("--secret", secret_, "Not shown")->group("");
    app_.footer("Examples:\n  test model.onnx");
    app_.formatter(std::make_shared<HelpFormatter>(GetParam()));
  }

  CLI::App app_{"Does it", "test"};
  std::string source_, kind_;
  int count_ = 3;
  bool secret_ = false;
};

TEST_P(Help, KeepsToItsWidth) {
  std::istringstream lines(app_.help());
  for (std::string line; std::getline(lines, line);) {
    EXPECT_LE(line.size(), GetParam()) << line;
    EXPECT_FALSE(line.ends_with(' ')) << line;
  }
}

TEST_P(Help, ShowsGroupsTypesDefaultsAndExamples) {
  const std::string text = app_.help();
  for (const char* part : {"\nInput:\n  SRC", "\nChoice:\n  -n, --count N", "(default: 3)",
                           "--kind NAME", "orange", "\nExamples:\n  test model.onnx\n"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  EXPECT_THAT(text, Not(HasSubstr("secret")));
}

INSTANTIATE_TEST_SUITE_P(Widths, Help, ::testing::Values(40, 60, 80, 100));

}  // namespace
}  // namespace ptq
