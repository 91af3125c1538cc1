// Commands that can be copied from the terminal as they are.
#include "ptq/report/next_steps.h"

#include <string_view>

#include <nlohmann/json.hpp>

#include "ptq/base/json.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

/// A path as one word of a shell.
std::string ShellWord(const std::string& text) {
  constexpr std::string_view kSafe =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-";
  if (!text.empty() && text.find_first_not_of(kSafe) == std::string::npos) return text;
  std::string word = "'";
  for (const char c : text) word += c == '\'' ? "'\\''" : std::string(1, c);
  return word + "'";
}

/// A path as a string of Python, whose escapes are those of JSON.
std::string PythonString(const std::string& text) { return DumpJson(Json(text)); }

std::string TextOf(const Json& json) {
  std::string text;
  if (!json["command"].is_null()) {
    text += "measure it    " + json["command"].get<std::string>() + '\n';
  }
  for (const Json& line : json["python"]) {
    text += (&line == &json["python"].front() ? "load it       " : "              ") +
            line.get<std::string>() + '\n';
  }
  return text;
}

}  // namespace

Json NextStepsJson(const RunReport& report) {
  Json json;
  json["command"] = nullptr;
  if (report.reads_tokens) {
    json["command"] = "quantize eval " + ShellWord(report.destination.string()) + " --against " +
                      ShellWord(report.source.string()) + " --text texts.txt";
  }
  json["python"] = {
      "import onnxruntime",
      "session = onnxruntime.InferenceSession(" + PythonString(report.model_file.string()) + ")",
      "print([(i.name, i.type, i.shape) for i in session.get_inputs()])"};
  return json;
}

Json NextStepsJson(const std::filesystem::path& directory) {
  Json json;
  json["command"] = nullptr;
  json["python"] = {
      "import pathlib, onnxruntime",
      "files = pathlib.Path(" + PythonString(directory.string()) + ").rglob(\"*.onnx\")",
      "sessions = {str(file): onnxruntime.InferenceSession(file) for file in files}"};
  return json;
}

std::string NextStepsText(const RunReport& report) { return TextOf(NextStepsJson(report)); }

std::string NextStepsText(const std::filesystem::path& directory) {
  return TextOf(NextStepsJson(directory));
}

}  // namespace ptq
