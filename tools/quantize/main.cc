// Parse, dispatch, and the only catch: errors become one line and the documented exit status.
#include <csignal>
#include <exception>
#include <iostream>
#include <new>
#include <optional>
#include <string>

#include "ptq/base/memory.h"
#include "ptq/base/ranks.h"
#include "ptq/cli/command.h"

namespace {

/// Of several ranks that fail, one reports it, and all end with its status.
int Fail(std::optional<ptq::Ranks>& ranks, ptq::ExitCode code, const char* what, bool json) {
  if (!ranks.has_value() || ranks->Fail(code)) {
    const std::string line = ptq::OneLine(what);
    std::cerr << "quantize: " << line << '\n';
    if (json) ptq::PrintErrorJson(code, line);
  }
  return static_cast<int>(code);
}

}  // namespace

int main(int argc, char** argv) {
  ptq::KeepFreedMemory();
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on the size of files then fails a write, as a full disk
  const bool json = ptq::WantsJson(argc, argv);
  std::optional<ptq::Ranks> ranks;
  try {
    ranks.emplace();
    const int status = ptq::RunCommandLine(argc, argv, *ranks);
    ranks->Agree();
    return status;
  } catch (const ptq::OtherRankFailed& error) {
    return static_cast<int>(error.code());
  } catch (const ptq::Error& error) {
    return Fail(ranks, error.code(), error.what(), json);
  } catch (const std::bad_alloc&) {
    return Fail(ranks, ptq::ExitCode::kResource,
                "out of memory; lower --seq-len or --calib-samples, or free memory", json);
  } catch (const std::exception& error) {
    const std::string text = "internal error: " + std::string(error.what()) + "; please report it";
    return Fail(ranks, ptq::ExitCode::kInternal, text.c_str(), json);
  }
}
