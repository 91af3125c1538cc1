// What is written of the samples: their lengths and hashes, and the files that they are from.
#include "calibration_provenance.h"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include <nlohmann/json.hpp>

#include "ptq/base/hash.h"

namespace ptq {
namespace {

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

const char* NameOf(TextSplit split) {
  switch (split) {
    case TextSplit::kAuto: return "auto";
    case TextSplit::kBlankLine: return "blank-line";
    case TextSplit::kLine: return "line";
    case TextSplit::kDocument: return "document";
  }
  return "auto";
}

int64_t Sum(const std::vector<CalibrationFile>& files, int64_t CalibrationFile::*count) {
  int64_t sum = 0;
  for (const CalibrationFile& file : files) sum += file.*count;
  return sum;
}

/// Of the only file, or of all together.
void AddTexts(nlohmann::ordered_json& json, const std::vector<CalibrationFile>& files) {
  json["texts_read"] = Sum(files, &CalibrationFile::texts_read);
  json["texts_empty"] = Sum(files, &CalibrationFile::texts_empty);
  if (const int64_t skipped = Sum(files, &CalibrationFile::texts_skipped); skipped > 0) {
    json["texts_skipped"] = skipped;
  }
  json["texts_used"] = Sum(files, &CalibrationFile::texts_used);
}

void AddFile(nlohmann::ordered_json& json, const CalibrationFile& file) {
  json["file"] = file.name;
  json["format"] = file.format;
  json["file_sha256"] = file.sha256;
}

}  // namespace

void CountSamples(CalibrationSet& set) {
  CalibrationProvenance& provenance = set.provenance;
  for (const auto& sample : set.ids) provenance.tokens += static_cast<int64_t>(sample.size());
  provenance.samples = static_cast<int64_t>(set.ids.size());
  provenance.lengths = Histogram(set.ids);
  provenance.ids_sha256 = HashOfIds(set.ids);
}

nlohmann::ordered_json ToJson(const CalibrationProvenance& provenance) {
  nlohmann::ordered_json lengths = nlohmann::ordered_json::array();
  for (const LengthBin& bin : provenance.lengths) {
    lengths.push_back({{"first", bin.first}, {"last", bin.last}, {"count", bin.count}});
  }
  const CalibrationOptions& options = provenance.options;
  nlohmann::ordered_json json;
  if (provenance.files.size() == 1) {
    AddFile(json, provenance.files.front());
  } else {
    for (const CalibrationFile& file : provenance.files) {
      nlohmann::ordered_json& entry = json["files"].emplace_back();
      AddFile(entry, file);
      AddTexts(entry, {file});
      entry["samples"] = file.samples;
    }
  }
  json["ids_sha256"] = provenance.ids_sha256;
  AddTexts(json, provenance.files);
  json["samples"] = provenance.samples;
  json["tokens"] = provenance.tokens;
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
