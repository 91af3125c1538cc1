// Parse, dispatch, and the only catch: errors become one line and the documented exit status.
#include <csignal>
#include <exception>
#include <iostream>
#include <optional>
#include <string>

#include "ptq/base/matrix_library.h"
#include "ptq/base/memory.h"
#include "ptq/base/ranks.h"
#include "ptq/base/standard_streams.h"
#include "ptq/cli/command.h"
#include "ptq/cli/describe_error.h"

namespace {

/// Of several ranks that fail, one reports it, and all end with its status.
int Fail(std::optional<ptq::Ranks>& ranks, ptq::Ending ending, bool json) {
  if (!ranks.has_value() || ranks->Fail(ending.code)) {
    const std::string line = ptq::OneLine(ending.text);
    std::cerr << "quantize: " << line << '\n';
    if (json) ptq::PrintErrorJson(ending.code, line);
  }
  return static_cast<int>(ending.code);
}

}  // namespace

int main(int argc, char** argv) {
  ptq::LoadWithoutIdleThreads(argv);
  ptq::FillStandardStreams();
  ptq::KeepFreedMemory();
  ptq::LimitMemory();
  // A limit on the size of files then fails a write as a full disk does, as does a reader that
  // goes.
  std::signal(SIGXFSZ, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
  const bool json = ptq::WantsJson(argc, argv);
  std::optional<ptq::Ranks> ranks;
  try {
    ranks.emplace();
    const int status = ptq::RunCommandLine(argc, argv, *ranks);
    if (ranks->is_root()) ptq::FinishOutput();
    ranks->Agree();
    return status;
  } catch (const ptq::OtherRankFailed& error) {
    return static_cast<int>(error.code());
  } catch (...) {
    return Fail(ranks, ptq::DescribeError(std::current_exception()), json);
  }
}
