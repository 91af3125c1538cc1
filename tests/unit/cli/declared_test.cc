// What is read from the declaration of an option.
#include "options/declared.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ptq {
namespace {

using ::testing::ElementsAre;

class DeclaredTest : public ::testing::Test {
 protected:
  DeclaredTest() {
    bits_ = app_.add_option("-b,--bits", number_, "how many")->type_name("2|4");
    files_ = app_.add_option("--files", names_, "which");
    quiet_ = app_.add_flag("--quiet", truth_, "no words");
    hidden_ = app_.add_option("--secret", number_, "")->group("");
    source_ = app_.add_option("src", text_, "from where");
  }
  CLI::App app_;
  int number_ = 0;
  bool truth_ = false;
  std::string text_;
  std::vector<std::string> names_;
  CLI::Option *bits_, *files_, *quiet_, *hidden_, *source_;
};

TEST_F(DeclaredTest, FindsOptionsByLongNameAndByLetter) {
  CLI::App* const apps[] = {&app_};
  EXPECT_EQ(FindOption(apps, "bits"), bits_);
  EXPECT_EQ(FindOption(apps, "b"), bits_);
  EXPECT_EQ(FindOption(apps, "secret"), hidden_);
  EXPECT_EQ(FindOption(apps, "bit"), nullptr);
  EXPECT_EQ(FindOption(apps, "src"), nullptr);
}

TEST_F(DeclaredTest, ListsAndNamesWhatIsNotHidden) {
  CLI::App* const apps[] = {&app_};
  EXPECT_THAT(LongNames(apps), ElementsAre("--help", "--bits", "--files", "--quiet"));
  EXPECT_EQ(NameOf(*bits_), "--bits");
  EXPECT_EQ(NameOf(*source_), "SRC");
}

TEST_F(DeclaredTest, TellsKindsApart) {
  EXPECT_TRUE(IsSwitch(*quiet_));
  EXPECT_FALSE(IsSwitch(*bits_));
  EXPECT_TRUE(IsList(*files_));
  EXPECT_FALSE(IsList(*bits_));
  EXPECT_EQ(TypeOf(*bits_), "2|4");
  EXPECT_EQ(TypeOf(*source_), "VALUE");
}

TEST_F(DeclaredTest, LetsARecipeSetWhatIsNamedAndNotHidden) {
  EXPECT_TRUE(IsRecipeKey(*bits_));
  EXPECT_TRUE(IsRecipeKey(*quiet_));
  EXPECT_FALSE(IsRecipeKey(*hidden_));
  EXPECT_FALSE(IsRecipeKey(*source_));
  EXPECT_FALSE(IsRecipeKey(*app_.get_help_ptr()));
}

}  // namespace
}  // namespace ptq
