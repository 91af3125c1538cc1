// The one place that knows about quiet, verbose, terminals, and NO_COLOR.
#include "logging.h"

#include <cstdlib>
#include <string_view>

#include <nlohmann/json.hpp>
#include <spdlog/sinks/ansicolor_sink.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include "ptq/base/json.h"
#include "ptq/base/progress.h"

namespace ptq {
namespace {

std::string_view Environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? std::string_view() : std::string_view(value);
}

bool IsDumb() { return Environment("TERM") == "dumb"; }

/// Log lines on standard error, above the progress bar.
class LineSink : public spdlog::sinks::sink {
 public:
  LineSink() {
    const bool plain = IsDumb() || !Environment("NO_COLOR").empty();
    sink_.set_color_mode(plain ? spdlog::color_mode::never : spdlog::color_mode::automatic);
  }
  void log(const spdlog::details::log_msg& message) override {
    const ProgressPause pause;
    sink_.log(message);
  }
  void flush() override { sink_.flush(); }
  void set_pattern(const std::string& pattern) override { sink_.set_pattern(pattern); }
  void set_formatter(std::unique_ptr<spdlog::formatter> formatter) override {
    sink_.set_formatter(std::move(formatter));
  }

 private:
  spdlog::sinks::ansicolor_stderr_sink_mt sink_;
};

/// The same as objects, for whoever reads the progress as such.
class JsonSink : public spdlog::sinks::base_sink<std::mutex> {
 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    const auto level = spdlog::level::to_string_view(message.level);
    const nlohmann::ordered_json json = {
        {"log", std::string(level.data(), level.size())},
        {"message", std::string(message.payload.data(), message.payload.size())}};
    const std::string text = DumpJson(json);
    const ProgressPause pause;
    std::fprintf(stderr, "%s\n", text.c_str());
  }
  void flush_() override { std::fflush(stderr); }
};

ProgressMode ModeFor(const GlobalOptions& global) {
  if (global.quiet || !global.ranks.is_root()) return ProgressMode::kNone;
  switch (global.progress) {
    case ProgressChoice::kNone: return ProgressMode::kNone;
    case ProgressChoice::kPlain: return ProgressMode::kPlain;
    case ProgressChoice::kJson: return ProgressMode::kJson;
    case ProgressChoice::kAuto: break;
  }
  const bool draws = ::isatty(STDERR_FILENO) != 0 && !IsDumb();
  return draws ? ProgressMode::kBar : ProgressMode::kSparse;
}

}  // namespace

void SetUpLogging(const GlobalOptions& global) {
  const ProgressMode mode = ModeFor(global);
  spdlog::sink_ptr sink;
  if (mode == ProgressMode::kJson) {
    sink = std::make_shared<JsonSink>();
  } else {
    sink = std::make_shared<LineSink>();
  }
  auto logger = std::make_shared<spdlog::logger>("quantize", std::move(sink));
  logger->set_pattern("%^%l%$: %v");
  logger->set_level(global.quiet     ? spdlog::level::err
                    : global.verbose ? spdlog::level::debug
                                     : spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
  SetProgressMode(mode);
}

}  // namespace ptq
