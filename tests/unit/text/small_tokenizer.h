// A tokenizer whose ids can be read off the text: "w7" is token 7.
#pragma once

#include <string>

#include "ptq/text/tokenizer.h"

namespace ptq::testing {

inline constexpr int kWords = 100;
inline constexpr int kUnknown = 100;
inline constexpr int kBegin = 101;
inline constexpr int kEnd = 102;

/// Words w0 … w99 split at white space, put between [B] and [E] by the post-processor.
inline std::string SmallTokenizerJson() {
  std::string vocab;
  for (int i = 0; i < kWords; ++i) {
    vocab += "\"w" + std::to_string(i) + "\": " + std::to_string(i) + ", ";
  }
  vocab += R"("[U]": 100, "[B]": 101, "[E]": 102)";
  return R"({"version": "1.0",
    "truncation": {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
    "padding": {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null,
                "pad_id": 0, "pad_type_id": 0, "pad_token": "w0"},
    "added_tokens": [
      {"id": 101, "content": "[B]", "single_word": false, "lstrip": false, "rstrip": false,
       "normalized": false, "special": true},
      {"id": 102, "content": "[E]", "single_word": false, "lstrip": false, "rstrip": false,
       "normalized": false, "special": true}],
    "normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"},
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "[B]", "type_id": 0}},
                 {"Sequence": {"id": "A", "type_id": 0}},
                 {"SpecialToken": {"id": "[E]", "type_id": 0}}],
      "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
      "special_tokens": {"[B]": {"id": "[B]", "ids": [101], "tokens": ["[B]"]},
                         "[E]": {"id": "[E]", "ids": [102], "tokens": ["[E]"]}}},
    "decoder": null,
    "model": {"type": "WordLevel", "vocab": {)" +
         vocab + R"(}, "unk_token": "[U]"}})";
}

inline Tokenizer SmallTokenizer() { return Tokenizer::FromJson(SmallTokenizerJson(), "small"); }

/// "w<first> w<first+1> …", `count` words, wrapping at 100.
inline std::string Words(int first, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) {
    text += (i == 0 ? "w" : " w") + std::to_string((first + i) % kWords);
  }
  return text;
}

}  // namespace ptq::testing
