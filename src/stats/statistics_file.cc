// Writes safetensors with ten tensors a site, and checks each of them before it is read.
#include "ptq/stats/statistics_file.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <utility>

#include "ptq/base/destination.h"
#include "ptq/base/error.h"
#include "ptq/base/json.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kLargestHeader = uint64_t{1} << 30;
constexpr int64_t kWidest = int64_t{1} << 24;

constexpr int64_t kTokens = TokenSample::kMost;

int64_t TriangleSize(int64_t k) { return k * (k + 1) / 2; }

/// The file's own beginning marks what a killed process has left under its temporary name.
const std::filesystem::path& Claimed(const std::filesystem::path& path) {
  RemoveLeftover(path, kStatisticsFormat);
  return path;
}

std::string Prefix(const std::string& site) { return site + "/"; }

}  // namespace

StatisticsWriter::StatisticsWriter(const std::filesystem::path& path, const Json& provenance,
                                   std::vector<StoredSite> sites)
    : sites_(std::move(sites)), file_(Claimed(path)) {
  Json header;
  header["__metadata__"] = {{"format", kStatisticsFormat}, {"provenance", DumpJson(provenance)}};
  int64_t offset = 0;
  const auto add = [&](const std::string& name, const char* dtype, const Json& shape,
                       int64_t bytes) {
    header[name] = {{"dtype", dtype}, {"shape", shape}, {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  };
  for (const StoredSite& site : sites_) {
    const std::string prefix = Prefix(site.name);
    add(prefix + "count", "I64", Json::array(), 8);
    add(prefix + "sum", "F64", {site.k}, 8 * site.k);
    add(prefix + "abs_sum", "F64", {site.k}, 8 * site.k);
    for (const char* extreme : {"max_abs", "lowest", "highest"}) {
      add(prefix + extreme, "F32", {site.k}, 4 * site.k);
    }
    add(prefix + "gram", "F32", {TriangleSize(site.k)}, 4 * TriangleSize(site.k));
    add(prefix + "token_count", "I64", Json::array(), 8);
    add(prefix + "token_keys", "U64", {kTokens}, 8 * kTokens);
    add(prefix + "tokens", "F32", {kTokens, site.k}, 4 * kTokens * site.k);
  }
  std::string text = DumpJson(header);
  text.resize((text.size() + 7) / 8 * 8, ' ');  // data begins at a multiple of 8
  const auto length = static_cast<uint64_t>(text.size());
  file_.writer().Write(std::as_bytes(std::span(&length, 1)));
  file_.writer().Write(text);
}

void StatisticsWriter::Write(const SiteStatistics& statistics) {
  const int64_t k = statistics.k();
  if (next_ >= sites_.size() || sites_[next_].k != k || statistics.gram().empty()) {
    throw InternalError("statistics are written in another order than announced");
  }
  ++next_;
  const int64_t count = statistics.count();
  file_.writer().Write(std::as_bytes(std::span(&count, 1)));
  file_.writer().Write(std::as_bytes(statistics.sum()));
  file_.writer().Write(std::as_bytes(statistics.abs_sum()));
  file_.writer().Write(std::as_bytes(statistics.max_abs()));
  file_.writer().Write(std::as_bytes(statistics.lowest()));
  file_.writer().Write(std::as_bytes(statistics.highest()));
  for (int64_t row = 0; row < k; ++row) {
    file_.writer().Write(
        std::as_bytes(statistics.gram().subspan(size_t(row * k), size_t(row + 1))));
  }
  WriteSample(statistics.sample());
}

void StatisticsWriter::WriteSample(const TokenSample& sample) {
  const int64_t count = sample.count();
  std::vector<uint64_t> keys(sample.keys().begin(), sample.keys().end());
  std::vector<float> rows(sample.rows().begin(), sample.rows().end());
  keys.resize(size_t(kTokens));
  rows.resize(size_t(kTokens * sample.k()));
  file_.writer().Write(std::as_bytes(std::span(&count, 1)));
  file_.writer().Write(std::as_bytes(std::span(keys)));
  file_.writer().Write(std::as_bytes(std::span(rows)));
}

void StatisticsWriter::Close() {
  if (next_ != sites_.size()) throw InternalError("statistics of some sites were not written");
  file_.Commit();
}

StatisticsFile::StatisticsFile(const std::filesystem::path& path) : file_(MappedFile::Open(path)) {
  const auto bytes = file_->bytes();
  const auto refuse = [&](const std::string& why) {
    throw InputError("'" + path.string() + "' is not a statistics file of quantize stats: " + why);
  };
  uint64_t length = 0;
  if (bytes.size() < sizeof(length)) refuse("it is too short");
  std::memcpy(&length, bytes.data(), sizeof(length));
  if (length > kLargestHeader || length > bytes.size() - sizeof(length)) refuse("it is truncated");
  const auto* const text = reinterpret_cast<const char*>(bytes.data()) + sizeof(length);
  header_ = ParseJson<Json>({text, length});
  data_begin_ = sizeof(length) + length;
  const Json::json_pointer metadata("/__metadata__/provenance");
  if (!header_.is_object() || !header_.contains(metadata) || !header_[metadata].is_string()) {
    refuse("its header does not say where it is from");
  }
  provenance_ = ParseJson<Json>(header_[metadata].get<std::string>());
  const auto counts = [&](const char* entry) {
    const Json::json_pointer place(entry);
    return provenance_.contains(place) && provenance_[place].is_number_integer();
  };
  const bool known = provenance_.is_object() && provenance_.contains("source") &&
                     counts("/calibration/samples") && counts("/calibration/tokens");
  if (!known) refuse("its header does not say where it is from");
  for (const auto& [name, entry] : header_.items()) {
    if (!name.ends_with("/max_abs")) continue;
    const Json::json_pointer width("/shape/0");
    if (!entry.contains(width) || !entry[width].is_number_integer()) refuse("a shape is missing");
    StoredSite site{name.substr(0, name.size() - std::strlen("/max_abs")),
                    entry[width].get<int64_t>()};
    if (site.k < 1 || site.k > kWidest) refuse("a shape is impossible");
    const std::string prefix = Prefix(site.name);
    (void)Find(prefix + "gram", "F32", 4 * TriangleSize(site.k));
    if (header_.contains(prefix + "tokens")) {
      (void)Find(prefix + "tokens", "F32", 4 * kTokens * site.k);
    }
    sites_.push_back(std::move(site));
  }
}

std::span<const std::byte> StatisticsFile::Find(const std::string& tensor, std::string_view dtype,
                                                int64_t bytes) const {
  const auto data = file_->bytes().subspan(data_begin_);
  const auto refuse = [&](const char* why) {
    throw InputError("'" + file_->path().string() + "': '" + tensor + "' " + why);
  };
  const auto found = header_.find(tensor);
  if (found == header_.end()) refuse("is missing");
  try {
    const auto begin = found->at("data_offsets").at(0).get<int64_t>();
    const auto end = found->at("data_offsets").at(1).get<int64_t>();
    if (begin < 0 || begin > int64_t(data.size()) || end != begin + bytes ||
        end > int64_t(data.size()) || found->at("dtype").get<std::string>() != dtype) {
      refuse("is not as long as its site is wide, or truncated");
    }
    return data.subspan(size_t(begin), size_t(bytes));
  } catch (const Json::exception&) {
    refuse("is malformed");
  }
  return {};
}

bool StatisticsFile::has_tokens() const {
  return std::ranges::all_of(sites_, [&](const StoredSite& site) {
    return header_.contains(Prefix(site.name) + "token_count");
  });
}

SiteStatistics StatisticsFile::Read(const std::string& site) const {
  const auto own = std::ranges::find(sites_, site, &StoredSite::name);
  if (own == sites_.end()) {
    throw InputError("'" + file_->path().string() + "' holds no statistics of '" + site +
                     "'; collect them again with quantize stats");
  }
  const int64_t k = own->k;
  const std::string prefix = Prefix(site);
  int64_t count = 0;
  std::vector<double> sum(static_cast<size_t>(k)), abs_sum(sum.size());
  std::vector<float> max_abs(abs_sum.size()), gram(size_t(k * k), 0.0f);
  const auto copy = [&](const char* name, const char* dtype, void* to, int64_t bytes) {
    std::memcpy(to, Find(prefix + name, dtype, bytes).data(), size_t(bytes));
  };
  copy("count", "I64", &count, 8);
  copy("sum", "F64", sum.data(), 8 * k);
  copy("abs_sum", "F64", abs_sum.data(), 8 * k);
  copy("max_abs", "F32", max_abs.data(), 4 * k);
  std::vector<float> lowest(max_abs.size()), highest(max_abs);
  if (header_.contains(prefix + "lowest")) {
    copy("lowest", "F32", lowest.data(), 4 * k);
    copy("highest", "F32", highest.data(), 4 * k);
  } else {  // as files were before activations could be rounded
    std::ranges::transform(highest, lowest.begin(), std::negate<float>());
  }
  const auto triangle = Find(prefix + "gram", "F32", 4 * TriangleSize(k));
  for (int64_t row = 0; row < k; ++row) {
    std::memcpy(gram.data() + row * k, triangle.data() + 4 * TriangleSize(row),
                size_t(4 * (row + 1)));
  }
  file_->Drop(triangle);
  return SiteStatistics(count, std::move(sum), std::move(abs_sum), std::move(max_abs),
                        std::move(lowest), std::move(highest), std::move(gram), ReadSample(*own));
}

/// None from a file as it was before tokens were kept.
TokenSample StatisticsFile::ReadSample(const StoredSite& site) const {
  const std::string prefix = Prefix(site.name);
  if (!header_.contains(prefix + "token_count")) return TokenSample(site.k);
  int64_t count = 0;
  std::memcpy(&count, Find(prefix + "token_count", "I64", 8).data(), 8);
  if (count < 0 || count > kTokens) {
    throw InputError("'" + file_->path().string() + "': '" + prefix + "token_count' is impossible");
  }
  std::vector<uint64_t> keys(static_cast<size_t>(count));
  std::vector<float> rows(size_t(count * site.k));
  const auto stored_keys = Find(prefix + "token_keys", "U64", 8 * kTokens);
  const auto stored = Find(prefix + "tokens", "F32", 4 * kTokens * site.k);
  std::ranges::copy(stored_keys.first(keys.size() * sizeof(uint64_t)),
                    std::as_writable_bytes(std::span(keys)).begin());
  std::ranges::copy(stored.first(rows.size() * sizeof(float)),
                    std::as_writable_bytes(std::span(rows)).begin());
  return TokenSample(site.k, std::move(keys), std::move(rows));
}

}  // namespace ptq
