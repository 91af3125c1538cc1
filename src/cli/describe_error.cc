// Gives each kind of error its status and its line.
#include "ptq/cli/describe_error.h"

#include <filesystem>
#include <iostream>
#include <new>
#include <stdexcept>

#include <nlohmann/json.hpp>

#include "ptq/base/json.h"

namespace ptq {
Ending DescribeError(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Error& own) {
    return {own.code(), own.what()};
  } catch (const std::bad_alloc&) {
    return {ExitCode::kResource,
            "out of memory; lower --seq-len or --calib-samples, or free memory"};
  } catch (const std::length_error&) {
    return {ExitCode::kResource, "out of memory: an input asks for more than any machine has"};
  } catch (const std::filesystem::filesystem_error& path) {
    return {ExitCode::kInput, "'" + path.path1().string() + "': " + path.code().message()};
  } catch (const nlohmann::json::exception& json) {
    return {ExitCode::kInput, "an input of JSON has another form than is expected here (" +
                                  JsonReason(json) + "); it is damaged, or of something else"};
  } catch (const std::out_of_range&) {
    return {ExitCode::kInput, "an input points to something that it does not hold; it is damaged"};
  } catch (const std::exception& other) {
    return {ExitCode::kInternal,
            "internal error: " + std::string(other.what()) + "; please report it"};
  } catch (...) {
    return {ExitCode::kInternal, "internal error of an unknown kind; please report it"};
  }
}

void FinishOutput() {
  if (std::cout.flush()) return;
  throw OutputError("cannot write to standard output; it is full or closed");
}

}  // namespace ptq
