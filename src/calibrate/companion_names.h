// What exporters call the values that one model hands to another.
#pragma once

#include <string>
#include <string_view>

namespace ptq {

inline constexpr char kEncoderStates[] = "encoder_hidden_states";
inline constexpr char kEncoderMask[] = "encoder_attention_mask";

inline bool IsPast(const std::string& name) { return name.starts_with("past"); }

inline bool Has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

}  // namespace ptq
