// Parse, dispatch, and the only catch: errors become one line and the documented exit status.
#include <exception>
#include <iostream>
#include <new>

#include "ptq/cli/command.h"

namespace {

int Fail(ptq::ExitCode code, const char* what) {
  std::cerr << "quantize: " << what << '\n';
  return static_cast<int>(code);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return ptq::RunCommandLine(argc, argv);
  } catch (const ptq::Error& error) {
    return Fail(error.code(), error.what());
  } catch (const std::bad_alloc&) {
    return Fail(ptq::ExitCode::kResource,
                "out of memory; lower --seq-len or --calib-samples, or free memory");
  } catch (const std::exception& error) {
    std::cerr << "quantize: internal error: " << error.what() << "; please report it\n";
    return static_cast<int>(ptq::ExitCode::kInternal);
  }
}
