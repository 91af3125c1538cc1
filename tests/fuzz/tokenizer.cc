// tokenizer.json, through the C ABI.
#include "ptq/text/tokenizer.h"

#include "fuzz.h"

namespace ptq::fuzz {
namespace {

std::vector<std::string> Seeds() {
  return {
      R"({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [{"id": 3, "content":
"<s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
"normalizer": {"type": "Sequence", "normalizers": [{"type": "Replace", "pattern": {"Regex": "w+"},
"content": "x"}, {"type": "Lowercase"}]}, "pre_tokenizer": {"type": "Whitespace"}, "post_processor":
{"type": "BertProcessing", "sep": ["a", 1], "cls": ["b", 2]}, "decoder": {"type": "WordPiece", "prefix":
"##", "cleanup": true}, "model": {"type": "WordPiece", "vocab": {"?": 0, "a": 1, "b": 2}, "unk_token":
"?", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}})",
      R"({"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space":
true, "trim_offsets": true, "use_regex": true}, "decoder": {"type": "ByteLevel"}, "model": {"type": "BPE",
"dropout": null, "unk_token": null, "byte_fallback": false, "vocab": {"a": 0, "b": 1, "ab": 2}, "merges":
["a b"]}})",
      R"({"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Metaspace", "replacement": "_",
"prepend_scheme": "always"}, "model": {"type": "Unigram", "unk_id": 0, "vocab": [["?", 0.0], ["a", -1.5],
["ab", -2.0]], "byte_fallback": false}})"};
}

void Run(std::string_view input) {
  const Tokenizer tokenizer = Tokenizer::FromJson(input, "tokenizer.json");
  const std::vector<int64_t> ids = tokenizer.Encode("a word AB ab <s> \xc3\xa9", true);
  (void)tokenizer.Decode(ids, false);
  (void)tokenizer.EncodePair("a b", "b", 8);
}

}  // namespace

extern const Target tokenizer_target = {"tokenizer", Seeds, MutateText, Run};

}  // namespace ptq::fuzz
