// Checks names that come from files, and where links lead.
#include "ptq/base/confined_path.h"

#include <algorithm>
#include <system_error>

#include "ptq/base/error.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;

/// `path` absolute, with the links of the part that exists resolved.
fs::path Resolved(const fs::path& path) {
  std::error_code error;
  const fs::path absolute = fs::absolute(path.empty() ? fs::path(".") : path, error);
  const fs::path resolved = fs::weakly_canonical(absolute, error);
  return error ? absolute.lexically_normal() : resolved;
}

/// For a message: a NUL would end it.
std::string Printable(std::string name) {
  std::ranges::replace_if(
      name, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, '?');
  return name;
}

}  // namespace

fs::path ConfinedName(const std::string& name, std::string_view what) {
  const auto refuse = [&](const std::string& why) {
    throw InputError(std::string(what) + " '" + Printable(name) + "' " + why);
  };
  if (name.empty()) refuse("has no name");
  if (name.find('\0') != std::string::npos) refuse("has a name with a NUL in it; refused");
  fs::path path = fs::path(name).lexically_normal();
  if (path.is_absolute() || *path.begin() == "..") {
    refuse("lies outside the model's directory; such models are refused");
  }
  if (path == "." || path.filename().empty()) refuse("is the name of a directory; refused");
  return path;
}

fs::path ConfinedFile(const fs::path& root, const std::string& name, std::string_view what,
                      std::span<const fs::path> also) {
  const fs::path relative = ConfinedName(name, what);
  fs::path file = root / relative;
  const bool inside = Contains(root, file) || std::ranges::any_of(also, [&](const fs::path& other) {
                        return Contains(other, file);
                      });
  if (!inside) {
    throw InputError(std::string(what) + " '" + Printable(name) +
                     "' leads outside the model's directory through a link; refused");
  }
  return file;
}

bool Contains(const fs::path& outer, const fs::path& inner) {
  const fs::path whole = Resolved(outer);
  std::error_code error;
  for (fs::path at = Resolved(inner);; at = at.parent_path()) {
    if (at == whole) return true;
    error.clear();
    if (fs::equivalent(at, whole, error) && !error) return true;
    if (!at.has_relative_path()) return false;
  }
}

}  // namespace ptq
