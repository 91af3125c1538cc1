#include "feed_samples.h"

#include <algorithm>
#include <cstring>

#include "ptq/base/error.h"
#include "ptq/base/hash.h"
#include "ptq/tensor/npz.h"

namespace ptq {
namespace {

/// Numbers of a sample that count as one token: about the width of a small model.
constexpr int64_t kNumbersPerToken = 512;

bool IsTokens(const std::string& name) {
  return name == "input_ids" || name == "attention_mask" || name == "decoder_input_ids";
}

}  // namespace

std::optional<FeedSamples> FeedSamples::Read(const std::filesystem::path& file) {
  if (file.extension() != ".npz") return std::nullopt;
  FeedSamples samples;
  for (auto& [name, tensor] : ReadNpz(file)) {
    if (name.starts_with("out.") || tensor.rank() == 0) continue;
    samples.arrays_[name.starts_with("in.") ? name.substr(3) : name] = std::move(tensor);
  }
  const bool tokens =
      std::ranges::all_of(samples.arrays_, [](const auto& entry) { return IsTokens(entry.first); });
  if (tokens) return std::nullopt;
  samples.count_ = samples.arrays_.begin()->second.dim(0);
  for (const auto& [name, tensor] : samples.arrays_) {
    if (tensor.dim(0) == samples.count_ && samples.count_ > 0) continue;
    throw InputError("'" + file.string() + "': '" + name + "' holds " +
                     std::to_string(tensor.dim(0)) + " samples, '" +
                     samples.arrays_.begin()->first + "' " + std::to_string(samples.count_) +
                     "; the first dimension of every array counts the samples");
  }
  return samples;
}

bool FeedSamples::Feed(const Graph& graph) const {
  return std::ranges::any_of(graph.graph_inputs(), [&](ValueId id) {
    const std::string& name = graph.value(id).name;
    return Has(name) && !IsTokens(name);
  });
}

CalibrationSet FeedSamples::Samples(const CalibrationOptions& options) const {
  int64_t largest = 0;
  for (const auto& [name, tensor] : arrays_) largest = std::max(largest, tensor.size() / count_);
  const int64_t length = std::clamp<int64_t>(largest / kNumbersPerToken, 1, options.seq_len);
  CalibrationSet set;
  const int64_t used = std::min(count_, options.samples);
  for (int64_t i = 0; i < used; ++i) set.ids.emplace_back(size_t(length), i);
  CalibrationProvenance& provenance = set.provenance;
  provenance.file = options.file.filename().string();
  provenance.format = "npz";
  provenance.file_sha256 = Sha256OfFile(options.file);
  provenance.ids_sha256 = provenance.file_sha256;
  provenance.texts_read = count_;
  provenance.texts_used = provenance.samples = used;
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
