// Names that a file gives (external data, parts of a package, entries of metadata) as paths that
// cannot leave their directory.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace ptq {

/// `name` as a relative path without "." and "..". Every name that comes from a file goes through
/// here before anything is read or written under it. Throws InputError, which begins with `what`
/// ("tensor 'w': external data"), when the name is empty, absolute, climbs out with ".." or holds a
/// NUL.
[[nodiscard]] std::filesystem::path ConfinedName(const std::string& name, std::string_view what);

/// `root / ConfinedName(name)`, for reading: what links on the way lead to lies in `root` or in one
/// of `also` (the blobs of a cache whose snapshots are links), as links are resolved. The file need
/// not exist. Throws InputError.
[[nodiscard]] std::filesystem::path ConfinedFile(const std::filesystem::path& root,
                                                 const std::string& name, std::string_view what,
                                                 std::span<const std::filesystem::path> also = {});

/// Whether `inner` is `outer` or lies below it once links are resolved. Directories that exist are
/// compared by what they are, not by name: other spellings (letter case) and bind mounts of one
/// directory are equal. `inner` need not exist.
[[nodiscard]] bool Contains(const std::filesystem::path& outer, const std::filesystem::path& inner);

}  // namespace ptq
