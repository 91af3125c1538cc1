// Makes a directory that no one else has, and removes it.
#include "ptq/base/scratch_directory.h"

#include <cerrno>
#include <cstdlib>
#include <string>
#include <system_error>

#include "ptq/base/error.h"

namespace ptq {

ScratchDirectory::ScratchDirectory(const std::filesystem::path& parent) {
  std::string name =
      ((parent.empty() ? std::filesystem::temp_directory_path() : parent) / ".quantize-XXXXXX")
          .string();
  if (::mkdtemp(name.data()) == nullptr) {
    throw OutputError("cannot make a directory in '" +
                      std::filesystem::path(name).parent_path().string() +
                      "': " + std::generic_category().message(errno));
  }
  path_ = name;
}

ScratchDirectory::~ScratchDirectory() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
}

}  // namespace ptq
