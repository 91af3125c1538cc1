// Reads a calibration file, tokenises it, and skips what the model cannot read.
#include "calibration_source.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>
#include <span>
#include <utility>

#include "calibration_ids.h"
#include "conversation.h"
#include "read_entries.h"
#include "text_collector.h"
#include <spdlog/spdlog.h>

#include "ptq/base/error.h"
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

int64_t WantedBytes(const CalibrationOptions& options) {
  return std::max(kUnthinnedBytes, kBytesPerWantedToken * options.samples * options.seq_len);
}

size_t WantedTexts(const CalibrationOptions& options) { return size_t(2 * options.samples); }

/// Keeps a random part of a file that has far more text than can be used. `read`: texts of the
/// file.
void ThinOut(const CalibrationOptions& options, std::mt19937_64& generator, int64_t read,
             std::vector<SourceText>& texts, std::vector<std::string>& notes) {
  const int64_t budget = WantedBytes(options);
  std::vector<size_t> order = Indices(texts.size());
  int64_t bytes = 0;
  size_t kept = 0;
  while (kept < order.size() && (bytes < budget || kept < WantedTexts(options))) {
    DrawNext(generator, order, kept);
    bytes += static_cast<int64_t>(texts[order[kept]].text.size());
    ++kept;
  }
  if (int64_t(kept) == read) return;
  notes.push_back("Of " + std::to_string(read) + " texts a random " + std::to_string(kept) +
                  " were tokenised; they hold far more than is used.");
  order.resize(kept);
  std::sort(order.begin(), order.end());
  std::vector<SourceText> chosen;
  chosen.reserve(order.size());
  for (const size_t index : order) chosen.push_back(std::move(texts[index]));
  texts = std::move(chosen);
}

void Tokenise(const CalibrationOptions& options, const Tokenizer& tokenizer,
              std::span<const SourceText> texts, CalibrationSource& source) {
  source.rows.resize(texts.size());
  const bool pairs = std::ranges::any_of(texts, &SourceText::pair);
  if (pairs) source.types.resize(texts.size());
  source.cut.resize(texts.size(), 0);
  const auto limit = static_cast<size_t>(options.seq_len);
  ParallelFor(static_cast<int64_t>(texts.size()), [&](int64_t i) {
    const SourceText& text = texts[static_cast<size_t>(i)];
    std::vector<int64_t>& row = source.rows[static_cast<size_t>(i)];
    int64_t& cut = source.cut[static_cast<size_t>(i)];
    if (text.pair) {
      EncodedPair pair = EncodePairAtMost(tokenizer, text.text, text.second, limit, cut);
      row = std::move(pair.ids);
      source.types[static_cast<size_t>(i)] = std::move(pair.types);
      return;
    }
    const bool special = options.add_special_tokens && !text.rendered;
    row = special && options.long_text == LongText::kTruncate
              ? EncodeAtMost(tokenizer, text.text, limit, &cut)
              : tokenizer.Encode(text.text, special);
  });
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

CalibrationSource ReadTexts(const CalibrationInput& input, const CalibrationOptions& options,
                            const Tokenizer* tokenizer, const ChatTemplate* chat_template,
                            std::mt19937_64& generator) {
  CalibrationSource source;
  source.file.name = CalibrationFileName(input.file);
  if (tokenizer == nullptr) {
    throw UsageError(source.file.name +
                     ": calibration text needs the model's tokenizer; put tokenizer.json beside "
                     "the model, or give token ids as .npz or .npy");
  }
  ConversationWriter writer(chat_template, source.file.name);
  TextCollector collector(writer, options.pairs, WantedBytes(options), WantedTexts(options),
                          options.seed);
  const EntryFile file = ReadEntries(input, options.split, {}, collector);
  source.notes = writer.Notes();
  source.file.format = file.format;
  source.file.sha256 = file.sha256;
  source.split = file.split;
  source.file.texts_empty = collector.empty();
  source.file.texts_read = collector.read();
  std::vector<SourceText> texts = collector.Take();
  ThinOut(options, generator, collector.read(), texts, source.notes);
  Tokenise(options, *tokenizer, texts, source);
  SkippedTexts skipped(source.file.name, *tokenizer, options.vocab_size);
  for (size_t i = 0; i < source.rows.size(); ++i) {
    if (skipped.Skip(source.rows[i], texts[i].number, texts[i].text)) source.rows[i].clear();
  }
  source.file.texts_skipped = skipped.count();
  if (std::string note = skipped.Finish(); !note.empty()) source.notes.push_back(std::move(note));
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

CalibrationSource ReadSource(const CalibrationInput& input, const CalibrationOptions& options,
                             const Tokenizer* tokenizer, const ChatTemplate* chat_template,
                             std::mt19937_64& generator) {
  if (IsArrayFile(input.file)) return ReadIds(input.file, options);
  return ReadTexts(input, options, tokenizer, chat_template, generator);
}

}  // namespace ptq
