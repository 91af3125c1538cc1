// Reads calibration files and draws from them, reproducibly, the token ids that statistics come
// from.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace ptq {

class ChatTemplate;
class Tokenizer;

/// What separates the texts of a plain text file.
enum class TextSplit {
  kAuto,       ///< blank lines when the file has some between its texts, else lines
  kBlankLine,  ///< one text per paragraph
  kLine,       ///< one text per line
  kDocument,   ///< the file is one text
};

/// What happens to a text of more than `seq_len` tokens.
enum class LongText {
  kWindow,    ///< it is cut into windows of `seq_len`, each a candidate of its own
  kTruncate,  ///< its first `seq_len` tokens are kept; special tokens at its end stay at the end
};

/// What becomes of two texts that belong together, such as a query and a document.
enum class PairUse {
  kTexts,   ///< each is a text of its own: for encoders
  kPair,    ///< one row of ids, joined as the tokenizer joins pairs: for rerankers
  kJoined,  ///< one text, the second below the first: for language models
};

struct CalibrationOptions {
  /// Text, JSON, tables, Parquet, arrays of ids, told apart by content, as the words of
  /// ResolveCalibrationFiles; "-": standard input; none: the prompts inside the program. The
  /// samples are shared out evenly among several.
  std::vector<std::filesystem::path> files;
  int64_t samples = 128;  ///< at most this many
  int64_t seq_len = 512;  ///< tokens of the longest sample
  uint64_t seed = 13;
  TextSplit split = TextSplit::kAuto;
  LongText long_text = LongText::kWindow;
  PairUse pairs = PairUse::kTexts;
  bool add_special_tokens = true;  ///< as the tokenizer's post-processor says; never for ids
  /// Rows of the table that ids choose from; 0 = not known. Texts with a token past it are skipped;
  /// more than half of a file's texts are an error, and so is such an id in a file of ids.
  int64_t vocab_size = 0;
  /// What the model fixes of the ids it reads; 0 where it is open. With either, the drawn texts are
  /// joined and cut into samples of one length (`fixed_length`, or the longest), a multiple of
  /// `fixed_rows` of them; what is too little for that is repeated. One row of any length is free.
  int64_t fixed_rows = 0;
  int64_t fixed_length = 0;
};

/// Number of samples with `first` to `last` tokens, both included.
struct LengthBin {
  int64_t first = 0;
  int64_t last = 0;
  int64_t count = 0;
};

/// What a file held and gave.
struct CalibrationFile {
  std::string name;           ///< without its directories; "standard input", "built-in"
  std::string format;         ///< "txt", "jsonl", "json", "csv", "tsv", "parquet", "npz" or "npy"
  std::string sha256;         ///< of the bytes read
  int64_t texts_read = 0;     ///< texts, conversations or rows of ids that were not empty
  int64_t texts_empty = 0;    ///< dropped
  int64_t texts_skipped = 0;  ///< for a token past the model's table
  int64_t texts_used = 0;     ///< those of which at least one sample was taken
  int64_t samples = 0;
};

/// What was used, for the metadata.
struct CalibrationProvenance {
  std::vector<CalibrationFile> files;  ///< in the order given
  /// Of the samples: for each one its length, then its ids, all as little-endian 64-bit integers.
  std::string ids_sha256;
  int64_t samples = 0;
  int64_t tokens = 0;
  std::vector<LengthBin> lengths;  ///< ordered, without gaps, from 1 to the longest sample
  CalibrationOptions options;      ///< as given, but `split` resolved
  std::vector<std::string> notes;  ///< what a reader should know, one sentence each
};

/// What of the texts was too long, where it is not taken as samples of its own.
struct CutTexts {
  int64_t texts = 0;
  int64_t tokens = 0;
  void Add(int64_t cut) {
    texts += cut > 0 ? 1 : 0;
    tokens += cut;
  }
};

struct CalibrationSet {
  std::vector<std::vector<int64_t>> ids;  ///< each of 1 to seq_len tokens, in the file's order
  /// To which of its two texts each token of a pair belongs, as `ids`, and empty for samples that
  /// are no pair; empty as a whole where there is none.
  std::vector<std::vector<int64_t>> types = {};
  CutTexts cut = {};  ///< with LongText::kTruncate, and of pairs
  CalibrationProvenance provenance;
};

/// Reads texts (plain, JSON lines and arrays, comma- and tab-separated tables, Parquet; packed with
/// gzip or Zstandard, or in UTF-16), of the members that docs/calibration.md lists, conversations
/// through `chat_template`, or token
/// ids ([N, T] or [T], int32 or int64; in an .npz `input_ids` or `in.input_ids`, with an optional
/// `attention_mask` whose zeros at either end mark padding).
///
/// Each file gets an equal part of `samples`; what one cannot fill goes to the others. More
/// candidates than its part are drawn without replacement by `seed` alone, and stay in the file's
/// order. Of a long text's windows, a last one under max(8, seq_len / 8) tokens is dropped. Of a
/// very large file only a random part (by `seed`) is tokenised; a note says so.
///
/// `tokenizer` may be null for token ids, `chat_template` always: conversations then become
/// "role: content" lines. Throws InputError (missing, empty or malformed file: with the line or
/// byte, or the command that converts it; ids outside the vocabulary), UsageError (text without a
/// tokenizer, senseless options).
[[nodiscard]] CalibrationSet ReadCalibration(const CalibrationOptions& options,
                                             const Tokenizer* tokenizer,
                                             const ChatTemplate* chat_template);

/// What messages call a file: its name without directories, "standard input", "built-in".
[[nodiscard]] std::string CalibrationFileName(const std::filesystem::path& file);

/// The provenance as the metadata writes it.
[[nodiscard]] nlohmann::ordered_json ToJson(const CalibrationProvenance& provenance);

}  // namespace ptq
