// Gives errors of the file system the status of reading or of writing, where the standard library
// has one kind for both.
#include "ptq/base/folders.h"

#include <algorithm>
#include <new>
#include <string>
#include <system_error>
#include <utility>

#include "ptq/base/error.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;

/// Throws when memory was all that was missing.
std::string Words(const char* what, const fs::path& path, const std::error_code& error) {
  if (error == std::errc::not_enough_memory) throw std::bad_alloc();
  return "cannot " + std::string(what) + " '" + path.string() + "': " + error.message();
}

}  // namespace

void MakeFolders(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw OutputError(Words("create", folder, error));
}

std::vector<fs::path> EntriesOf(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code error;
  auto entry = fs::directory_iterator(folder.empty() ? "." : folder, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    entries.push_back(folder / entry->path().filename());
  }
  if (error && error != std::errc::no_such_file_or_directory &&
      error != std::errc::not_a_directory) {
    throw InputError(Words("read the directory", folder, error));
  }
  std::ranges::sort(entries);
  return entries;
}

std::vector<fs::path> FilesBelow(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  auto entry = fs::recursive_directory_iterator(folder, error);
  for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    if (entry->is_regular_file()) files.push_back(entry->path().lexically_relative(folder));
  }
  if (error) throw OutputError(Words("read the directory", folder, error));
  std::ranges::sort(files);
  return files;
}

void MoveFile(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::rename(from, to, error);
  if (error) throw OutputError(Words("write", to, error));
}

void RemoveAll(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) throw OutputError(Words("remove", path, error));
}

}  // namespace ptq
