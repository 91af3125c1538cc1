// Statistics of sites on disk: collected once, read by every run that tries another method.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "ptq/base/file.h"
#include "ptq/stats/site_statistics.h"

namespace ptq {

/// Stands near the beginning of every such file.
inline constexpr char kStatisticsFormat[] = "ptq-statistics-1";

/// A site as a file knows it.
struct StoredSite {
  std::string name;  ///< of the activation
  int64_t k = 0;
};

/// Writes a safetensors file: for each site `<name>/count` (I64, scalar), `<name>/sum` and
/// `<name>/abs_sum` (F64 [K]), `<name>/max_abs`, `<name>/lowest`, `<name>/highest` (F32 [K]),
/// `<name>/gram` (F32 [K (K + 1) / 2], the lower triangle row by row), `<name>/token_keys` (U64
/// [256]) and `<name>/tokens` (F32 [256, K]), of which those beyond `<name>/token_count` (I64,
/// scalar) are zeros; and the provenance as JSON text in the header's `__metadata__.provenance`.
/// Source: the safetensors format (8 bytes of header length, JSON
/// header, data).
class StatisticsWriter {
 public:
  /// `sites` in the order in which Write will be called. Throws OutputError.
  StatisticsWriter(const std::filesystem::path& path, const nlohmann::ordered_json& provenance,
                   std::vector<StoredSite> sites);
  void Write(const SiteStatistics& statistics);
  /// Makes the file durable and gives it its name. Without, nothing is left.
  void Close();

 private:
  void WriteSample(const TokenSample& sample);
  std::vector<StoredSite> sites_;
  size_t next_ = 0;
  AtomicFile file_;
};

/// A file of StatisticsWriter; a site's statistics are read when they are asked for.
class StatisticsFile {
 public:
  /// Throws InputError when the file is missing or not such a file.
  explicit StatisticsFile(const std::filesystem::path& path);

  [[nodiscard]] const nlohmann::ordered_json& provenance() const { return provenance_; }
  /// In the file's order.
  [[nodiscard]] const std::vector<StoredSite>& sites() const { return sites_; }
  /// Whether some of the tokens are there, which older versions have not kept.
  [[nodiscard]] bool has_tokens() const;
  /// Throws InputError when the file does not hold the site.
  [[nodiscard]] SiteStatistics Read(const std::string& site) const;

 private:
  [[nodiscard]] std::span<const std::byte> Find(const std::string& tensor, std::string_view dtype,
                                                int64_t bytes) const;
  [[nodiscard]] TokenSample ReadSample(const StoredSite& site) const;
  std::shared_ptr<const MappedFile> file_;
  size_t data_begin_ = 0;
  nlohmann::ordered_json header_;
  nlohmann::ordered_json provenance_;
  std::vector<StoredSite> sites_;
};

}  // namespace ptq
