// Patterns of the shell over whole names, compiled once and matched without going back far.
#pragma once

#include <bitset>
#include <string_view>
#include <vector>

namespace ptq {

/// `*`, `?`, `[a-z]`, `[!a-z]` and `\` in front of a character that stands for itself, as
/// fnmatch(3) reads them, byte by byte. A `[` that nothing closes stands for itself.
class Glob {
 public:
  explicit Glob(std::string_view pattern);
  /// In time proportional to the lengths of pattern and name, multiplied.
  [[nodiscard]] bool Matches(std::string_view name) const;

 private:
  using Bytes = std::bitset<256>;
  struct Part {
    bool star = false;
    Bytes bytes;  ///< of which one is to come, when it is no star
  };
  std::vector<Part> parts_;
};

}  // namespace ptq
