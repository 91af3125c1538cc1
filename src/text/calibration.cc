#include "ptq/text/calibration.h"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>
#include <random>
#include <set>
#include <span>
#include <utility>

#include "built_in_prompts.h"
#include "calibration_ids.h"
#include "calibration_text.h"
#include <nlohmann/json.hpp>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/hash.h"
#include "ptq/base/parallel.h"
#include "ptq/text/tokenizer.h"

namespace ptq {
namespace {

/// Texts beyond this many bytes per wanted token are not worth tokenising (a token has about four
/// bytes of English), nor are files under the floor worth thinning.
constexpr int64_t kBytesPerWantedToken = 32;
constexpr int64_t kUnthinnedBytes = 1 << 20;

/// A part of one text's tokens that may become a sample.
struct Candidate {
  size_t text;
  size_t begin;
  size_t end;
};

/// Uniform in [0, bound). Own arithmetic, because the standard's distributions differ between
/// libraries: numbers in the incomplete last stretch of the generator's range are drawn again.
uint64_t Draw(std::mt19937_64& generator, uint64_t bound) {
  constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();
  const uint64_t limit = kMax - kMax % bound;
  uint64_t number = generator();
  while (number >= limit) number = generator();
  return number % bound;
}

/// Moves a random element to the front of the part of `order` that starts at `position`.
void DrawNext(std::mt19937_64& generator, std::vector<size_t>& order, size_t position) {
  std::swap(order[position], order[position + Draw(generator, order.size() - position)]);
}

std::vector<size_t> Indices(size_t count) {
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  return order;
}

/// `wanted` of `count` indices, drawn without replacement, ascending.
std::vector<size_t> DrawIndices(std::mt19937_64& generator, size_t count, size_t wanted) {
  std::vector<size_t> order = Indices(count);
  if (wanted >= count) return order;
  for (size_t i = 0; i < wanted; ++i) DrawNext(generator, order, i);
  order.resize(wanted);
  std::sort(order.begin(), order.end());
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

std::vector<Candidate> MakeCandidates(const CalibrationOptions& options,
                                      std::span<const std::vector<int64_t>> texts) {
  const auto limit = static_cast<size_t>(options.seq_len);
  const size_t smallest_tail = std::max<size_t>(8, limit / 8);
  std::vector<Candidate> candidates;
  for (size_t text = 0; text < texts.size(); ++text) {
    const size_t size = texts[text].size();
    if (size == 0) continue;
    candidates.push_back({text, 0, std::min(size, limit)});
    if (options.long_text == LongText::kTruncate) continue;
    for (size_t begin = limit; begin < size; begin += limit) {
      const size_t end = std::min(size, begin + limit);
      if (end - begin == limit || end - begin >= smallest_tail) {
        candidates.push_back({text, begin, end});
      }
    }
  }
  return candidates;
}

void CheckVocabulary(const CalibrationOptions& options, const std::string& name,
                     std::span<const std::vector<int64_t>> texts, bool from_text) {
  const int64_t limit =
      options.vocab_size > 0 ? options.vocab_size : std::numeric_limits<int64_t>::max();
  for (size_t row = 0; row < texts.size(); ++row) {
    for (const int64_t id : texts[row]) {
      if (id >= 0 && id < limit) continue;
      const std::string where = from_text ? "" : "row " + std::to_string(row) + ": ";
      const std::string advice = from_text ? "; the tokenizer does not belong to the model" : "";
      throw InputError(name + ": " + where + "token id " + std::to_string(id) +
                       " is outside the model's vocabulary" +
                       (options.vocab_size > 0 ? " of " + std::to_string(limit) : "") + advice);
    }
  }
}

/// Bins 1–16, 17–32, 33–64 … up to the longest sample.
std::vector<LengthBin> Histogram(std::span<const std::vector<int64_t>> samples) {
  std::vector<LengthBin> bins;
  size_t longest = 0;
  for (const auto& sample : samples) longest = std::max(longest, sample.size());
  for (int64_t first = 1, last = 16; first <= static_cast<int64_t>(longest); last *= 2) {
    bins.push_back({first, last, 0});
    first = last + 1;
  }
  for (const auto& sample : samples) {
    const auto length = static_cast<int64_t>(sample.size());
    const auto bin = std::find_if(bins.begin(), bins.end(),
                                  [&](const LengthBin& b) { return length <= b.last; });
    ++bin->count;
  }
  return bins;
}

std::string HashOfIds(std::span<const std::vector<int64_t>> samples) {
  Sha256 hash;
  const auto update = [&hash](int64_t value) {
    std::array<std::byte, 8> bytes;
    for (int i = 0; i < 8; ++i) {
      bytes[static_cast<size_t>(i)] =
          static_cast<std::byte>(static_cast<uint64_t>(value) >> (8 * i));
    }
    hash.Update(bytes);
  };
  for (const auto& sample : samples) {
    update(static_cast<int64_t>(sample.size()));
    for (const int64_t id : sample) update(id);
  }
  return hash.HexDigest();
}

/// The texts' tokens, with what is known about where they came from.
struct Source {
  std::vector<std::vector<int64_t>> texts;
  bool from_text = false;
};

Source ReadIds(const CalibrationOptions& options, CalibrationProvenance& provenance) {
  IdFile file = ReadCalibrationIds(options.file);
  provenance.format = file.format;
  provenance.file_sha256 = Sha256OfFile(options.file);
  provenance.texts_empty = file.empty;
  provenance.texts_read = static_cast<int64_t>(file.rows.size()) - file.empty;
  return {std::move(file.rows), false};
}

Source ReadTexts(const CalibrationOptions& options, const Tokenizer* tokenizer,
                 const ChatTemplate* chat_template, std::mt19937_64& generator,
                 CalibrationProvenance& provenance) {
  if (tokenizer == nullptr) {
    throw UsageError(provenance.file +
                     ": calibration text needs the model's tokenizer; put tokenizer.json beside "
                     "the model, or give token ids as .npz or .npy");
  }
  const bool built_in = options.file.empty();
  const std::string read = built_in ? "" : ReadTextFile(options.file);
  const std::string_view bytes = built_in ? BuiltInPrompts() : read;
  TextFile file = ParseCalibrationText(bytes, provenance.file,
                                       built_in ? ".jsonl" : options.file.extension().string(),
                                       options.split, chat_template);
  provenance.format = file.format;
  provenance.file_sha256 = Sha256Hex(bytes);
  provenance.options.split = file.split;
  provenance.texts_empty = file.empty;
  provenance.texts_read = static_cast<int64_t>(file.texts.size());
  ThinOut(options, generator, file);
  provenance.notes = std::move(file.notes);
  return {Tokenise(options, *tokenizer, file.texts), true};
}

/// Samples of one length, as many as fill whole blocks of `fixed_rows`.
void FitToModel(const CalibrationOptions& options, CalibrationSet& set) {
  if (options.fixed_length == 0 && options.fixed_rows <= 1) return;
  auto length = static_cast<size_t>(options.fixed_length);
  std::vector<int64_t> all;
  for (const auto& ids : set.ids) {
    all.insert(all.end(), ids.begin(), ids.end());
    if (options.fixed_length == 0) length = std::max(length, ids.size());
  }
  const auto rows = static_cast<size_t>(std::max<int64_t>(1, options.fixed_rows));
  const size_t given = all.size();
  while (all.size() < rows * length) all.push_back(all[all.size() - given]);
  set.ids.clear();
  for (size_t i = 0; i < all.size() / (rows * length) * rows; ++i) {
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(i * length);
    set.ids.emplace_back(begin, begin + static_cast<std::ptrdiff_t>(length));
  }
  set.provenance.notes.push_back("the model reads " + std::to_string(rows) + " x " +
                                 std::to_string(length) +
                                 " tokens at a time: texts were joined and cut to that");
}

void CheckOptions(const CalibrationOptions& options) {
  if (options.samples < 1) throw UsageError("calibration needs at least 1 sample");
  if (options.seq_len < 1) throw UsageError("calibration samples need at least 1 token");
}

std::string NameOf(const std::filesystem::path& file) {
  if (file.empty()) return "built-in";
  return file == "-" ? "standard input" : file.filename().string();
}

const char* NameOf(TextSplit split) {
  switch (split) {
    case TextSplit::kAuto: return "auto";
    case TextSplit::kBlankLine: return "blank-line";
    case TextSplit::kLine: return "line";
    case TextSplit::kDocument: return "document";
  }
  return "auto";
}

}  // namespace

CalibrationSet ReadCalibration(const CalibrationOptions& options, const Tokenizer* tokenizer,
                               const ChatTemplate* chat_template) {
  CheckOptions(options);
  CalibrationSet set;
  CalibrationProvenance& provenance = set.provenance;
  provenance.options = options;
  provenance.file = NameOf(options.file);

  std::mt19937_64 generator(options.seed);
  const std::string extension = options.file.extension().string();
  const bool ids = extension == ".npz" || extension == ".npy";
  const Source source = ids ? ReadIds(options, provenance)
                            : ReadTexts(options, tokenizer, chat_template, generator, provenance);
  CheckVocabulary(options, provenance.file, source.texts, source.from_text);

  const std::vector<Candidate> candidates = MakeCandidates(options, source.texts);
  if (candidates.empty()) {
    throw InputError(provenance.file + ": no usable calibration text (" +
                     std::to_string(provenance.texts_empty) + " empty)");
  }
  std::set<size_t> used;
  for (const size_t index :
       DrawIndices(generator, candidates.size(), static_cast<size_t>(options.samples))) {
    const auto [text, begin, end] = candidates[index];
    const std::span<const int64_t> part = std::span(source.texts[text]).subspan(begin, end - begin);
    set.ids.emplace_back(part.begin(), part.end());
    used.insert(text);
  }
  FitToModel(options, set);
  for (const auto& sample : set.ids) provenance.tokens += static_cast<int64_t>(sample.size());
  provenance.samples = static_cast<int64_t>(set.ids.size());
  provenance.texts_used = static_cast<int64_t>(used.size());
  provenance.lengths = Histogram(set.ids);
  provenance.ids_sha256 = HashOfIds(set.ids);
  return set;
}

nlohmann::ordered_json ToJson(const CalibrationProvenance& provenance) {
  nlohmann::ordered_json lengths = nlohmann::ordered_json::array();
  for (const LengthBin& bin : provenance.lengths) {
    lengths.push_back({{"first", bin.first}, {"last", bin.last}, {"count", bin.count}});
  }
  const CalibrationOptions& options = provenance.options;
  nlohmann::ordered_json json = {{"file", provenance.file},
                                 {"format", provenance.format},
                                 {"file_sha256", provenance.file_sha256},
                                 {"ids_sha256", provenance.ids_sha256},
                                 {"texts_read", provenance.texts_read},
                                 {"texts_empty", provenance.texts_empty},
                                 {"texts_used", provenance.texts_used},
                                 {"samples", provenance.samples},
                                 {"tokens", provenance.tokens}};
  json["lengths"] = std::move(lengths);
  json["options"] = {{"samples", options.samples},
                     {"seq_len", options.seq_len},
                     {"seed", options.seed},
                     {"split", NameOf(options.split)},
                     {"long_text", options.long_text == LongText::kWindow ? "window" : "truncate"},
                     {"add_special_tokens", options.add_special_tokens}};
  json["notes"] = provenance.notes;
  return json;
}

}  // namespace ptq
