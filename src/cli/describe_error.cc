// Gives each kind of error its status and its line.
#include "ptq/cli/describe_error.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

#include <nlohmann/json.hpp>

#include "ptq/base/json.h"

namespace ptq {
namespace {

Ending NoMoreThreads() {
  return {
      ExitCode::kResource,
      "the system gives no more threads or memory; lower --threads, or raise the limits on this "
      "process (ulimit -u, -v)"};
}

Ending DescribeSystemError(const std::system_error& error) {
  const bool refused = error.code() == std::errc::resource_unavailable_try_again ||
                       error.code() == std::errc::not_enough_memory;
  if (refused) return NoMoreThreads();
  return {ExitCode::kInternal,
          "internal error: " + std::string(error.what()) + "; please report it"};
}

}  // namespace

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
  } catch (const std::system_error& system) {
    return DescribeSystemError(system);
  } catch (const nlohmann::json::exception& json) {
    return {ExitCode::kInput, "an input of JSON has another form than is expected here (" +
                                  JsonReason(json) + "); it is damaged, or of something else"};
  } catch (const std::out_of_range&) {
    return {ExitCode::kInput, "an input points to something that it does not hold; it is damaged"};
  } catch (const std::exception& other) {
    // TBB throws no system_error, but its words.
    if (std::string_view(other.what()).ends_with(std::strerror(EAGAIN))) return NoMoreThreads();
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
