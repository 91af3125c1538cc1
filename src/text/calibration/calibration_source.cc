// Reads a calibration file, tokenises it, and skips what the model cannot read.
#include "calibration_source.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>
#include <span>
#include <utility>

#include "built_in_prompts.h"
#include "calibration_ids.h"
#include "calibration_text.h"
#include "decode_text.h"
#include <spdlog/spdlog.h>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/hash.h"
#include "ptq/base/parallel.h"
#include "ptq/tensor/npz.h"
#include "ptq/text/tokenizer.h"
#include "ptq/text/vocabulary.h"

namespace ptq {
namespace {

/// Texts beyond this many bytes per wanted token are not worth tokenising (a token has about four
/// bytes of English), nor are files under the floor worth thinning.
constexpr int64_t kBytesPerWantedToken = 32;
constexpr int64_t kUnthinnedBytes = 1 << 20;

/// Moves a random element to the front of the part of `order` that starts at `position`.
void DrawNext(std::mt19937_64& generator, std::vector<size_t>& order, size_t position) {
  std::swap(order[position], order[position + DrawBelow(generator, order.size() - position)]);
}

std::vector<size_t> Indices(size_t count) {
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  return order;
}

/// Keeps a random part of a file that has far more text than can be used.
void ThinOut(const CalibrationOptions& options, std::mt19937_64& generator, TextFile& file) {
  const int64_t budget =
      std::max(kUnthinnedBytes, kBytesPerWantedToken * options.samples * options.seq_len);
  const auto enough_texts = static_cast<size_t>(2 * options.samples);
  std::vector<size_t> order = Indices(file.texts.size());
  int64_t bytes = 0;
  size_t kept = 0;
  while (kept < order.size() && (bytes < budget || kept < enough_texts)) {
    DrawNext(generator, order, kept);
    bytes += static_cast<int64_t>(file.texts[order[kept]].text.size());
    ++kept;
  }
  if (kept == order.size()) return;
  file.notes.push_back("Of " + std::to_string(order.size()) + " texts a random " +
                       std::to_string(kept) + " were tokenised; they hold far more than is used.");
  order.resize(kept);
  std::sort(order.begin(), order.end());
  std::vector<SourceText> texts;
  texts.reserve(order.size());
  for (const size_t index : order) texts.push_back(std::move(file.texts[index]));
  file.texts = std::move(texts);
}

std::vector<std::vector<int64_t>> Tokenise(const CalibrationOptions& options,
                                           const Tokenizer& tokenizer,
                                           std::span<const SourceText> texts) {
  std::vector<std::vector<int64_t>> ids(texts.size());
  const auto limit = static_cast<size_t>(options.seq_len);
  ParallelFor(static_cast<int64_t>(texts.size()), [&](int64_t i) {
    const SourceText& source = texts[static_cast<size_t>(i)];
    std::vector<int64_t>& row = ids[static_cast<size_t>(i)];
    const bool special = options.add_special_tokens && !source.rendered;
    row = special && options.long_text == LongText::kTruncate
              ? EncodeAtMost(tokenizer, source.text, limit)
              : tokenizer.Encode(source.text, special);
  });
  return ids;
}

CalibrationSource ReadIds(const std::filesystem::path& path, const CalibrationOptions& options) {
  CalibrationSource source;
  IdFile ids = ReadCalibrationIds(path);
  source.file.name = CalibrationFileName(path);
  source.file.format = ids.format;
  source.file.sha256 = Sha256OfFile(path);
  source.file.texts_empty = ids.empty;
  source.file.texts_read = static_cast<int64_t>(ids.rows.size()) - ids.empty;
  source.rows = std::move(ids.rows);
  for (size_t row = 0; row < source.rows.size(); ++row) {
    const auto bad = FindOutside(source.rows[row], options.vocab_size);
    if (!bad) continue;
    throw InputError(source.file.name + ": row " + std::to_string(row) + ": token id " +
                     std::to_string(*bad) + " is outside the model's vocabulary" +
                     (options.vocab_size > 0 ? " of " + std::to_string(options.vocab_size) : ""));
  }
  return source;
}

CalibrationSource ReadTexts(const std::filesystem::path& path, const CalibrationOptions& options,
                            const Tokenizer* tokenizer, const ChatTemplate* chat_template,
                            std::mt19937_64& generator) {
  CalibrationSource source;
  source.file.name = CalibrationFileName(path);
  if (tokenizer == nullptr) {
    throw UsageError(source.file.name +
                     ": calibration text needs the model's tokenizer; put tokenizer.json beside "
                     "the model, or give token ids as .npz or .npy");
  }
  const bool built_in = path.empty();
  std::string bytes = built_in ? std::string(BuiltInPrompts()) : ReadTextFile(path);
  source.file.sha256 = Sha256Hex(std::string_view(bytes));
  const std::string text = DecodeText(std::move(bytes), path);
  const std::string extension = built_in ? ".jsonl" : WithoutPacking(path).extension().string();
  TextFile file =
      ParseCalibrationText(text, source.file.name, extension, options.split, chat_template);
  source.file.format = file.format;
  source.split = file.split;
  source.file.texts_empty = file.empty;
  source.file.texts_read = static_cast<int64_t>(file.texts.size());
  ThinOut(options, generator, file);
  source.rows = Tokenise(options, *tokenizer, file.texts);
  SkippedTexts skipped(source.file.name, *tokenizer, options.vocab_size);
  for (size_t i = 0; i < source.rows.size(); ++i) {
    if (skipped.Skip(source.rows[i], file.texts[i].number, file.texts[i].text)) {
      source.rows[i].clear();
    }
  }
  source.file.texts_skipped = skipped.count();
  if (std::string note = skipped.Finish(); !note.empty()) file.notes.push_back(std::move(note));
  source.notes = std::move(file.notes);
  return source;
}

}  // namespace

uint64_t DrawBelow(std::mt19937_64& generator, uint64_t bound) {
  // Numbers in the incomplete last stretch of the generator's range are drawn again.
  constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();
  const uint64_t limit = kMax - kMax % bound;
  uint64_t number = generator();
  while (number >= limit) number = generator();
  return number % bound;
}

std::vector<size_t> DrawIndices(std::mt19937_64& generator, size_t count, size_t wanted) {
  std::vector<size_t> order = Indices(count);
  if (wanted >= count) return order;
  for (size_t i = 0; i < wanted; ++i) DrawNext(generator, order, i);
  order.resize(wanted);
  std::sort(order.begin(), order.end());
  return order;
}

CalibrationSource ReadSource(const std::filesystem::path& path, const CalibrationOptions& options,
                             const Tokenizer* tokenizer, const ChatTemplate* chat_template,
                             std::mt19937_64& generator) {
  if (IsArrayFile(path)) return ReadIds(path, options);
  return ReadTexts(path, options, tokenizer, chat_template, generator);
}

}  // namespace ptq
