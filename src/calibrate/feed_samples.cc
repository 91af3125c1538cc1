// Reads complete inputs and hands out their rows.
#include "ptq/calibrate/feed_samples.h"

#include <algorithm>
#include <cstring>

#include "ptq/base/error.h"
#include "ptq/base/file_kind.h"
#include "ptq/base/hash.h"
#include "ptq/tensor/npz.h"
#include "ptq/text/calibration_files.h"

namespace ptq {
namespace {

/// Numbers of a sample that count as one token: about the width of a small model.
constexpr int64_t kNumbersPerToken = 512;

bool IsTokens(const std::string& name) {
  return name == "input_ids" || name == "attention_mask" || name == "decoder_input_ids";
}

}  // namespace

std::optional<FeedSamples> FeedSamples::Read(const std::filesystem::path& file) {
  const FileKind kind = KindOfFile(file);
  if (kind != FileKind::kNpz && file.extension() != ".npz") return std::nullopt;
  FeedSamples samples;
  samples.name_ = "'" + file.string() + "'";
  for (auto& [name, tensor] : ReadNpz(file)) {
    if (name.starts_with("out.")) continue;
    samples.arrays_[name.starts_with("in.") ? name.substr(3) : name] = std::move(tensor);
  }
  const bool tokens =
      std::ranges::all_of(samples.arrays_, [](const auto& entry) { return IsTokens(entry.first); });
  if (tokens) return std::nullopt;
  std::string counted;  // an array that tells how many samples there are
  samples.count_ = 1;
  for (const auto& [name, tensor] : samples.arrays_) {
    if (samples.IsShared(tensor) || tensor.dim(0) == samples.count_) continue;
    if (samples.count_ != 1 || tensor.dim(0) == 0) {
      throw InputError(
          samples.name_ + ": '" + name + "' holds " + std::to_string(tensor.dim(0)) + " samples" +
          (counted.empty() ? "" : ", '" + counted + "' " + std::to_string(samples.count_)) +
          "; the first dimension of every array counts the samples");
    }
    counted = name;
    samples.count_ = tensor.dim(0);
  }
  return samples;
}

/// One for all samples.
bool FeedSamples::IsShared(const Tensor& array) const {
  return array.rank() == 0 || array.dim(0) == 1;
}

void FeedSamples::CheckRows(const Graph& graph, ValueId input) const {
  const std::string& name = graph.value(input).name;
  const Tensor& array = arrays_.at(name);
  const auto declared = graph.DeclaredType(input).shape;
  const bool one = declared.has_value() && (declared->empty() || declared->front() == 1);
  if (count_ == 1 || one || !IsShared(array)) return;
  throw InputError(name_ + ": '" + name + "' holds 1 sample, other arrays " +
                   std::to_string(count_) +
                   "; only an input whose first dimension the model declares as 1 is shared by all "
                   "samples");
}

bool FeedSamples::Feed(const Graph& graph) const {
  bool feeds = false;
  for (const ValueId id : graph.graph_inputs()) {
    const std::string& name = graph.value(id).name;
    if (!Has(name)) continue;
    CheckRows(graph, id);
    feeds = feeds || !IsTokens(name);
  }
  return feeds;
}

CalibrationSet FeedSamples::Samples(const CalibrationOptions& options) const {
  int64_t largest = 0;
  for (const auto& [name, tensor] : arrays_) {
    largest = std::max(largest, tensor.size() / (IsShared(tensor) ? 1 : count_));
  }
  const int64_t length = std::clamp<int64_t>(largest / kNumbersPerToken, 1, options.seq_len);
  CalibrationSet set;
  const int64_t used = std::min(count_, options.samples);
  for (int64_t i = 0; i < used; ++i) set.ids.emplace_back(size_t(length), i);
  CalibrationProvenance& provenance = set.provenance;
  CalibrationFile file;
  const std::filesystem::path path = ResolveCalibrationFiles(options.files).front().file;
  file.name = CalibrationFileName(path);
  file.format = "npz";
  file.sha256 = Sha256OfFile(path);
  file.texts_read = count_;
  file.texts_used = file.samples = used;
  provenance.ids_sha256 = file.sha256;
  provenance.files = {std::move(file)};
  provenance.samples = used;
  provenance.tokens = used * length;
  provenance.lengths = {{1, length, used}};
  provenance.options = options;
  provenance.notes.emplace_back("the file holds complete inputs; tokens are estimated");
  return set;
}

std::map<std::string, Tensor> FeedSamples::Rows(const std::vector<int64_t>& ids, int64_t batch,
                                                int64_t length) const {
  std::map<std::string, Tensor> rows;
  for (const auto& [name, tensor] : arrays_) {
    if (tensor.rank() == 0 || (IsShared(tensor) && count_ > 1)) {
      rows[name] = tensor;
      continue;
    }
    Shape shape = tensor.shape();
    shape[0] = batch;
    Tensor picked(tensor.dtype(), shape);
    const size_t width = tensor.bytes().size() / size_t(count_);
    for (int64_t row = 0; row < batch; ++row) {
      const auto sample = size_t(ids[size_t(row * length)] % count_);
      std::memcpy(picked.mutable_bytes().data() + size_t(row) * width,
                  tensor.bytes().data() + sample * width, width);
    }
    rows[name] = std::move(picked);
  }
  return rows;
}

}  // namespace ptq
