// Finds the files that words name, match, or name together with a field.
#include "ptq/text/calibration_files.h"

#include <algorithm>
#include <memory>
#include <system_error>

#include <glob.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

bool IsPattern(const std::string& word) { return word.find_first_of("*?[{") != std::string::npos; }

bool IsFile(const std::filesystem::path& path) {
  std::error_code error;
  return path == "-" || std::filesystem::exists(path, error);
}

/// The files that match, without directories, in the order of their names.
std::vector<std::filesystem::path> Matches(const std::string& pattern) {
  if (!IsPattern(pattern)) return {};
  glob_t found{};
  const std::unique_ptr<glob_t, decltype(&globfree)> owner(&found, &globfree);
  if (::glob(pattern.c_str(), GLOB_BRACE, nullptr, &found) != 0) return {};
  std::vector<std::filesystem::path> paths(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  std::error_code error;
  std::erase_if(paths, [&](const auto& p) { return std::filesystem::is_directory(p, error); });
  std::ranges::sort(paths);
  return paths;
}

/// Whether `name` leads to files, which are added then.
bool Add(const std::string& name, const std::string& field, std::vector<CalibrationInput>& inputs) {
  if (IsFile(name)) {
    inputs.push_back({name, field});
    return true;
  }
  const auto paths = Matches(name);
  for (const auto& path : paths) inputs.push_back({path, field});
  return !paths.empty();
}

/// The longest name in front of a colon counts, since names may hold colons, too.
bool AddWithField(const std::string& word, std::vector<CalibrationInput>& inputs) {
  for (size_t colon = word.rfind(':'); colon != std::string::npos && colon > 0;
       colon = word.rfind(':', colon - 1)) {
    const std::string field = word.substr(colon + 1);
    if (!field.empty() && Add(word.substr(0, colon), field, inputs)) return true;
  }
  return false;
}

}  // namespace

std::vector<CalibrationInput> ResolveCalibrationFiles(
    std::span<const std::filesystem::path> words) {
  std::vector<CalibrationInput> inputs;
  for (const std::filesystem::path& path : words) {
    const std::string word = path.string();
    if (word.empty() || Add(word, "", inputs) || AddWithField(word, inputs)) continue;
    if (IsPattern(word)) {
      throw InputError("no file matches '" + word + "'; quote the pattern and look at the folder");
    }
    inputs.push_back({path, ""});
  }
  return inputs;
}

}  // namespace ptq
