// Draws samples from calibration files.
#include "ptq/text/calibration.h"

#include <algorithm>
#include <set>
#include <span>
#include <utility>

#include "calibration_provenance.h"
#include "calibration_source.h"

#include "ptq/base/error.h"

namespace ptq {
namespace {

/// A part of one text's tokens that may become a sample.
struct Candidate {
  size_t text;
  size_t begin;
  size_t end;
};

std::vector<Candidate> MakeCandidates(const CalibrationOptions& options,
                                      const CalibrationSource& source) {
  const std::span<const std::vector<int64_t>> texts = source.rows;
  const auto limit = static_cast<size_t>(options.seq_len);
  const size_t smallest_tail = std::max<size_t>(8, limit / 8);
  std::vector<Candidate> candidates;
  for (size_t text = 0; text < texts.size(); ++text) {
    const size_t size = texts[text].size();
    if (size == 0) continue;
    candidates.push_back({text, 0, std::min(size, limit)});
    const bool pair = !source.types.empty() && !source.types[text].empty();
    if (options.long_text == LongText::kTruncate || pair) continue;
    for (size_t begin = limit; begin < size; begin += limit) {
      const size_t end = std::min(size, begin + limit);
      if (end - begin == limit || end - begin >= smallest_tail) {
        candidates.push_back({text, begin, end});
      }
    }
  }
  return candidates;
}

/// Equal parts of `wanted`, in order; what one of `counts` is too small for goes to the others.
std::vector<size_t> FairParts(const std::vector<size_t>& counts, size_t wanted) {
  std::vector<size_t> parts(counts.size(), 0);
  for (size_t open = counts.size(); open > 0 && wanted > 0;) {
    const size_t each = std::max<size_t>(1, wanted / open);
    open = 0;
    for (size_t i = 0; i < counts.size(); ++i) {
      const size_t more = std::min({each, wanted, counts[i] - parts[i]});
      parts[i] += more;
      wanted -= more;
      if (parts[i] < counts[i]) ++open;
    }
  }
  return parts;
}

/// Adds `wanted` samples of a file to the set.
void Draw(CalibrationSource& source, const std::vector<Candidate>& candidates, size_t wanted,
          std::mt19937_64& generator, CalibrationSet& set) {
  std::set<size_t> used;
  for (const size_t index : DrawIndices(generator, candidates.size(), wanted)) {
    const auto [text, begin, end] = candidates[index];
    const std::span<const int64_t> part = std::span(source.rows[text]).subspan(begin, end - begin);
    set.ids.emplace_back(part.begin(), part.end());
    if (!source.types.empty()) {
      set.types.resize(set.ids.size());
      set.types.back() = source.types[text];
    }
    used.insert(text);
    ++source.file.samples;
  }
  source.file.texts_used = static_cast<int64_t>(used.size());
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
  set.types.clear();
  for (size_t i = 0; i < all.size() / (rows * length) * rows; ++i) {
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(i * length);
    set.ids.emplace_back(begin, begin + static_cast<std::ptrdiff_t>(length));
  }
  set.provenance.notes.push_back("the model reads " + std::to_string(rows) + " x " +
                                 std::to_string(length) +
                                 " tokens at a time: texts were joined and cut to that");
}

/// What the samples lack of their texts' tokens.
void CountCut(const CalibrationOptions& options, const CalibrationSource& source, CutTexts& cut) {
  for (size_t text = 0; text < source.rows.size(); ++text) {
    if (source.rows[text].empty()) continue;
    const int64_t before = source.cut.empty() ? 0 : source.cut[text];
    const bool truncated = options.long_text == LongText::kTruncate;
    const int64_t after = std::ssize(source.rows[text]) - options.seq_len;
    cut.Add(before + (truncated ? std::max<int64_t>(0, after) : 0));
  }
}

void CheckOptions(const CalibrationOptions& options) {
  if (options.samples < 1) throw UsageError("calibration needs at least 1 sample");
  if (options.seq_len < 1) throw UsageError("calibration samples need at least 1 token");
  if (std::ranges::count(options.files, "-") > 1) {
    throw UsageError("standard input (-) can be read once only");
  }
}

std::vector<Candidate> UsableCandidates(const CalibrationOptions& options,
                                        const CalibrationSource& source) {
  std::vector<Candidate> candidates = MakeCandidates(options, source);
  if (!candidates.empty()) return candidates;
  const CalibrationFile& file = source.file;
  throw InputError(file.name + ": no usable calibration text (" +
                   (file.texts_read + file.texts_empty == 0
                        ? "the file holds none"
                        : std::to_string(file.texts_empty) + " empty") +
                   ")");
}

}  // namespace

std::string CalibrationFileName(const std::filesystem::path& file) {
  if (file.empty()) return "built-in";
  return file == "-" ? "standard input" : file.filename().string();
}

CalibrationSet ReadCalibration(const CalibrationOptions& options, const Tokenizer* tokenizer,
                               const ChatTemplate* chat_template) {
  CheckOptions(options);
  CalibrationSet set;
  CalibrationProvenance& provenance = set.provenance;
  provenance.options = options;

  std::mt19937_64 generator(options.seed);
  std::vector<CalibrationSource> sources;
  std::vector<std::vector<Candidate>> candidates;
  std::vector<size_t> counts;
  std::vector<CalibrationInput> inputs = ResolveCalibrationFiles(options.files);
  if (inputs.empty()) inputs.emplace_back();  // the prompts inside the program
  for (const CalibrationInput& input : inputs) {
    sources.push_back(ReadSource(input, options, tokenizer, chat_template, generator));
    candidates.push_back(UsableCandidates(options, sources.back()));
    counts.push_back(candidates.back().size());
  }
  const auto parts = FairParts(counts, static_cast<size_t>(options.samples));
  for (size_t i = 0; i < sources.size(); ++i) {
    CalibrationSource& source = sources[i];
    Draw(source, candidates[i], parts[i], generator, set);
    CountCut(options, source, set.cut);
    if (source.split != TextSplit::kAuto) provenance.options.split = source.split;
    provenance.files.push_back(source.file);
    provenance.notes.insert(provenance.notes.end(), source.notes.begin(), source.notes.end());
  }
  if (!set.types.empty()) set.types.resize(set.ids.size());
  FitToModel(options, set);
  CountSamples(set);
  return set;
}

}  // namespace ptq
