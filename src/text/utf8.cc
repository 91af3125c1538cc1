// Checks lead and continuation bytes; overlong forms and surrogates are invalid.
#include "utf8.h"

#include <cstdint>

namespace ptq {
namespace {

/// What may follow a lead byte: the number of continuation bytes and the range of the first one.
struct Sequence {
  size_t continuations;
  uint8_t low;
  uint8_t high;
};

std::optional<Sequence> SequenceOf(uint8_t lead) {
  if (lead < 0x80) return Sequence{0, 0, 0};
  if (lead < 0xC2) return std::nullopt;  // a continuation byte, or an overlong form
  if (lead < 0xE0) return Sequence{1, 0x80, 0xBF};
  if (lead == 0xE0) return Sequence{2, 0xA0, 0xBF};
  if (lead == 0xED) return Sequence{2, 0x80, 0x9F};  // no surrogates
  if (lead < 0xF0) return Sequence{2, 0x80, 0xBF};
  if (lead == 0xF0) return Sequence{3, 0x90, 0xBF};
  if (lead < 0xF4) return Sequence{3, 0x80, 0xBF};
  if (lead == 0xF4) return Sequence{3, 0x80, 0x8F};  // nothing above U+10FFFF
  return std::nullopt;
}

}  // namespace

std::optional<size_t> FirstInvalidUtf8(std::string_view bytes) {
  size_t i = 0;
  while (i < bytes.size()) {
    const auto sequence = SequenceOf(static_cast<uint8_t>(bytes[i]));
    if (!sequence || bytes.size() - i <= sequence->continuations) return i;
    for (size_t k = 1; k <= sequence->continuations; ++k) {
      const auto byte = static_cast<uint8_t>(bytes[i + k]);
      const uint8_t low = k == 1 ? sequence->low : 0x80;
      const uint8_t high = k == 1 ? sequence->high : 0xBF;
      if (byte < low || byte > high) return i;
    }
    i += 1 + sequence->continuations;
  }
  return std::nullopt;
}

}  // namespace ptq
