// Processes that run beside this one.
#include "ptq/base/child_process.h"

#include <chrono>
#include <csignal>
#include <thread>

#include "support/temp_directory.h"
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/base/file.h"

namespace ptq {
namespace {

void Wait(ChildProcess& process) {
  while (!process.Poll()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

class ChildProcessTest : public ::testing::Test {
 protected:
  [[nodiscard]] std::filesystem::path Log() const { return directory_.path() / "log"; }
  testing::TempDirectory directory_;
};

TEST_F(ChildProcessTest, GivesWhatItPrintsItsMessagesAndItsStatus) {
  ChildProcess process({"/bin/sh", "-c", "echo out; echo err >&2; exit 5"}, Log());
  Wait(process);
  EXPECT_EQ(process.status(), 5);
  EXPECT_EQ(process.output(), "out\n");
  EXPECT_EQ(ReadTextFile(Log()), "err\n");
}

TEST_F(ChildProcessTest, TakesMoreThanAPipeHolds) {
  ChildProcess process({"/bin/sh", "-c", "head -c 1000000 /dev/zero"}, Log());
  Wait(process);
  EXPECT_EQ(process.output().size(), 1000000U);
}

TEST_F(ChildProcessTest, TellsTheSignalThatEndedIt) {
  ChildProcess process({"/bin/sh", "-c", "kill -KILL $$"}, Log());
  Wait(process);
  EXPECT_EQ(process.status(), 128 + SIGKILL);
}

TEST_F(ChildProcessTest, LetsItEndItsWorkWhenItIsInterrupted) {
  ChildProcess process(
      {"/bin/sh", "-c", "trap 'echo stopped; exit 130' INT; echo ready; while :; do :; done"},
      Log());
  while (process.output().empty()) process.Poll();
  process.Interrupt();
  EXPECT_EQ(process.status(), 130);
  EXPECT_EQ(process.output(), "ready\nstopped\n");
}

TEST_F(ChildProcessTest, KillsItWithTheObject) {
  const auto file = directory_.path() / "pid";
  {
    ChildProcess process({"/bin/sh", "-c", "echo $$; sleep 1000"}, Log());
    while (process.output().empty()) process.Poll();
    WriteFile(file, process.output());
  }
  EXPECT_NE(::kill(std::stoi(ReadTextFile(file)), 0), 0);
}

TEST_F(ChildProcessTest, RefusesALogThatCannotBeWritten) {
  EXPECT_THROW(ChildProcess({"/bin/true"}, directory_.path() / "no" / "log"), OutputError);
}

TEST_F(ChildProcessTest, ReportsAProgramThatIsNotThereAsShellsDo) {
  ChildProcess process({"/no/such/program"}, Log());
  Wait(process);
  EXPECT_EQ(process.status(), 127);
}

TEST(OwnProgram, IsThisTest) { EXPECT_EQ(OwnProgram().filename(), "base_tests"); }

}  // namespace
}  // namespace ptq
