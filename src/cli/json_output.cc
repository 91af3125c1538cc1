// The frame around everything that is printed with --json.
#include "json_output.h"

#include <cstdio>
#include <iostream>

#include "ptq/base/json.h"
#include "ptq/cli/command.h"
#include "ptq/cli/version.h"
#include "ptq/emit/metadata.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

std::string_view KindOf(ExitCode code) {
  switch (code) {
    case ExitCode::kDone: return "none";
    case ExitCode::kInternal: return "internal";
    case ExitCode::kUsage: return "usage";
    case ExitCode::kInput: return "input";
    case ExitCode::kUnsupported: return "unsupported";
    case ExitCode::kOutput: return "output";
    case ExitCode::kResource: return "resource";
    case ExitCode::kQuality: return "quality";
    case ExitCode::kInterrupted: return "interrupted";
  }
  return "internal";
}

Json Frame(std::string_view command) {
  Json json;
  json["schema_version"] = kOutputSchemaVersion;
  json["tool"] = {{"name", "quantize"}, {"version", VersionNumber()}};
  if (!command.empty()) json["command"] = command;
  return json;
}

std::string Text(const Json& json) { return DumpJson(json, 2) + '\n'; }

/// "--bits" of "--bits: ...", else what stands in the first quotes; with the line behind a file.
Json WhereOf(std::string_view what) {
  if (what.starts_with('-')) {
    const size_t end = what.find_first_of(": ");
    if (end != std::string_view::npos) return what.substr(0, end);
  }
  // An apostrophe inside a word opens nothing.
  size_t open = what.starts_with('\'') ? 0 : what.find(" '");
  if (open == std::string_view::npos) return nullptr;
  open += what[open] == ' ' ? 2 : 1;
  const size_t close = what.find('\'', open);
  if (close == std::string_view::npos) return nullptr;
  std::string where(what.substr(open, close - open));
  constexpr std::string_view kLine = " line ";
  std::string_view rest = what.substr(close + 1);
  if (rest.starts_with(kLine)) {
    rest.remove_prefix(kLine.size());
    where += ":" + std::string(rest.substr(0, rest.find_first_not_of("0123456789")));
  }
  return where;
}

}  // namespace

void PrintJson(std::string_view command, const Json& body) {
  Json json = Frame(command);
  for (const auto& [key, value] : body.items()) {
    if (!json.contains(key)) json[key] = value;
  }
  std::cout << Text(json);
}

Json SourceJson(const Model& model) {
  Metadata metadata;
  metadata.source = DescribeSource(model);
  return ToJson(metadata)["source"];
}

Json SourceJson(const std::filesystem::path& model) { return SourceJson(Model::Load(model)); }

Json ErrorJson(ExitCode code, std::string_view message) {
  const size_t hint = message.find("; ");
  const bool hinted = hint != std::string_view::npos;
  const std::string_view what = message.substr(0, hint);
  Json json = Frame("");
  json["error"] = {{"status", static_cast<int>(code)},
                   {"kind", KindOf(code)},
                   {"what", what},
                   {"where", WhereOf(what)},
                   {"hint", hinted ? Json(message.substr(hint + 2)) : Json(nullptr)}};
  return json;
}

std::string OneLine(std::string_view message) {
  constexpr size_t kLongest = 1000, kEnd = 300;  // the end holds what to do
  std::string line(message);
  if (line.size() > kLongest) {
    const auto inside = [&](size_t at) { return (line[at] & 0xC0) == 0x80; };  // of a character
    size_t from = kLongest - kEnd, to = line.size() - kEnd;
    while (from > 0 && inside(from)) --from;
    while (to < line.size() && inside(to)) ++to;
    line = line.substr(0, from) + "..." + line.substr(to);
  }
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return line;
}

bool WantsJson(int argc, const char* const* argv) {
  for (int i = 1; i < argc && std::string_view(argv[i]) != "--"; ++i) {
    if (std::string_view(argv[i]) == "--json") return true;
  }
  return false;
}

void PrintErrorJson(ExitCode code, std::string_view message) {
  // Not by way of std::cout, which is closed for all ranks but the first.
  const std::string text = Text(ErrorJson(code, message));
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

}  // namespace ptq
