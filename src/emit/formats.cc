// Lists the formats, and finds one by its name.
#include "formats.h"

#include <array>
#include <string>

#include "ptq/base/error.h"

namespace ptq {

// A new output format is one file and one line here.
std::span<const LinearFormat* const> LinearFormats() {
  static const std::array<const LinearFormat*, 2> kFormats = {
      &MatMulNBitsFormat(),
      &QdqFormat(),
  };
  return kFormats;
}

const LinearFormat& FindLinearFormat(std::string_view name) {
  std::string known;
  for (const LinearFormat* format : LinearFormats()) {
    if (format->name() == name) return *format;
    known += (known.empty() ? "" : ", ") + std::string(format->name());
  }
  throw UsageError("unknown format '" + std::string(name) + "'; known formats: " + known);
}

}  // namespace ptq
