// Composes a tokenizer.json from the older files vocab.json and merges.txt.
#pragma once

#include <filesystem>
#include <string>

namespace ptq {

/// The contents of the tokenizer.json that transformers would write for the byte-level BPE in
/// `directory`. Throws InputError for malformed files, UnsupportedError for a `tokenizer_class`
/// whose rules these two files do not tell.
[[nodiscard]] std::string ComposeByteLevelBpe(const std::filesystem::path& directory);

}  // namespace ptq
