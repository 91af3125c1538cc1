// Walks down a directory until it meets models.
#include "ptq/flows/find_models.h"

#include <algorithm>
#include <set>
#include <system_error>

#include "ptq/base/error.h"
#include "ptq/base/interrupt.h"
#include "ptq/emit/metadata.h"
#include "ptq/model/model_forms.h"
#include "ptq/pipeline/directory.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;

int64_t BytesOf(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return int64_t(fs::file_size(path, error));
  int64_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(path, error)) {
    if (entry.is_regular_file(error)) bytes += int64_t(entry.file_size(error));
  }
  return bytes;
}

class Finder {
 public:
  Finder(fs::path root, fs::path leave_out)
      : root_(std::move(root)), leave_out_(std::move(leave_out)) {}

  void Search(const fs::path& directory) {
    CheckInterrupt();
    std::error_code error;
    // Links may lead to what was searched already.
    if (!searched_.insert(fs::canonical(directory, error)).second) return;
    if (fs::exists(directory / kMetadataFileName, error)) return;
    if (TakeModels(directory)) return;
    std::vector<fs::path> below;
    for (const auto& entry : fs::directory_iterator(directory, error)) {
      const bool hidden = entry.path().filename().string().starts_with('.');
      if (hidden || !entry.is_directory(error)) continue;
      if (!fs::equivalent(entry.path(), leave_out_, error)) below.push_back(entry.path());
    }
    if (error && directory == root_) {
      throw InputError("cannot read the directory '" + directory.string() +
                       "': " + error.message());
    }
    std::ranges::sort(below);
    for (const fs::path& each : below) Search(each);
  }

  std::vector<FoundModel> Take() { return std::move(found_); }

 private:
  /// Whether there are any.
  bool TakeModels(const fs::path& directory) {
    const std::vector<fs::path> files = OnnxFilesIn(directory);
    if (files.empty() && OnnxFilesIn(directory / "onnx").empty()) return false;
    if (ModelFiles(directory).files.size() > 1 || IsOneModel(directory)) {
      Add(directory, directory);
      return true;
    }
    for (const fs::path& file : ChooseForms(files).files) Add(file, directory / file.stem());
    return !files.empty();
  }

  static bool IsOneModel(const fs::path& directory) {
    try {
      return !ChooseModel(directory).files.empty();
    } catch (const InputError&) {
      return false;  // they do not belong together
    }
  }

  void Add(const fs::path& source, const fs::path& named) {
    std::string base = named.lexically_relative(root_).generic_string();
    if (base == ".") base = fs::absolute(root_).lexically_normal().filename().string();
    std::ranges::replace(base, '/', '-');
    found_.push_back({source, base, BytesOf(source)});
  }

  fs::path root_;
  fs::path leave_out_;
  std::set<fs::path> searched_;
  std::vector<FoundModel> found_;
};

}  // namespace

std::vector<FoundModel> FindModels(const fs::path& directory, const fs::path& leave_out) {
  std::error_code error;
  if (!fs::is_directory(directory, error)) {
    if (fs::exists(directory, error)) {
      return {{directory, directory.stem().string(), BytesOf(directory)}};
    }
    throw InputError("there is no file or directory '" + directory.string() + "'");
  }
  const fs::path root = directory.filename().empty() ? directory.parent_path() : directory;
  Finder finder(root, leave_out);
  finder.Search(root);
  return finder.Take();
}

}  // namespace ptq
