// Which status and line each kind of error becomes.
#include "ptq/cli/describe_error.h"

#include <filesystem>
#include <new>
#include <stdexcept>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace ptq {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

template <class Body>
Ending EndingOf(const Body& body) {
  try {
    body();
  } catch (...) {
    return DescribeError(std::current_exception());
  }
  return {ExitCode::kDone, ""};
}

TEST(DescribeError, KeepsWhatThisProgramSays) {
  const Ending ending = EndingOf([] { throw UnsupportedError("no such thing"); });
  EXPECT_EQ(ending.code, ExitCode::kUnsupported);
  EXPECT_EQ(ending.text, "no such thing");
}

TEST(DescribeError, GivesWhatInputsProvokeTheirStatus) {
  const Ending json = EndingOf([] { (void)nlohmann::json("text").get<int>(); });
  EXPECT_EQ(json.code, ExitCode::kInput);
  EXPECT_THAT(json.text, HasSubstr("type must be number, but is string"));
  EXPECT_THAT(json.text, Not(HasSubstr("exception")));
  const Ending path = EndingOf([] { (void)std::filesystem::canonical("/no/such/file"); });
  EXPECT_EQ(path.code, ExitCode::kInput);
  EXPECT_EQ(path.text, "'/no/such/file': No such file or directory");
  EXPECT_EQ(EndingOf([] { throw std::bad_alloc(); }).code, ExitCode::kResource);
  EXPECT_EQ(EndingOf([] { std::string().resize(std::string().max_size() + 1); }).code,
            ExitCode::kResource);
  EXPECT_EQ(EndingOf([] { (void)std::string().at(1); }).code, ExitCode::kInput);
}

TEST(DescribeError, CallsTheRestABug) {
  const Ending ending = EndingOf([] { throw std::runtime_error("odd"); });
  EXPECT_EQ(ending.code, ExitCode::kInternal);
  EXPECT_EQ(ending.text, "internal error: odd; please report it");
  EXPECT_EQ(EndingOf([] { throw 7; }).code, ExitCode::kInternal);
}

}  // namespace
}  // namespace ptq
