// Calibrates and quantizes one segment after the other, on all ranks together.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "ptq/base/ranks.h"
#include "ptq/calibrate/calibration_run.h"
#include "ptq/calibrate/source.h"
#include "ptq/search/segment_quantizer.h"
#include "ptq/stats/statistics_file.h"

namespace ptq {

/// The part of the road that ranks share. Each runs its part of the samples; the sums of a site go
/// to the rank that owns it, which quantizes its linears; rank 0 gets the results. Every rank takes
/// the same segments in the same order.
class SegmentSearch {
 public:
  /// All but `others` outlive this.
  SegmentSearch(const Source& source, const Recipe& recipe, const Plan& plan, Ranks& ranks,
                const ModelInputs& inputs, OneOfSeveral others);

  /// Reads the samples or opens the statistics, whichever the method needs. `sha256` of the model
  /// file; `scratch` is a directory for activations that do not fit in memory. Throws what
  /// StartCalibration throws, and InputError for statistics or ranks of another model. Inputs that
  /// nobody can make are no error: there are no statistics then, and note() says why.
  void Start(const std::string& sha256, const std::filesystem::path& scratch);
  /// Null when samples are not run.
  [[nodiscard]] CalibrationRun* calibration() { return calibration_ ? &*calibration_ : nullptr; }
  /// Why the method goes without the statistics that it is meant for; empty when it does not.
  [[nodiscard]] const std::string& note() const { return note_; }
  /// What the metadata says of the samples (rank 0); null without calibration.
  [[nodiscard]] nlohmann::ordered_json Provenance() const;

  /// The whole segment's result on rank 0; elsewhere nothing of use. Adds to `timings`.
  [[nodiscard]] SegmentResult Run(size_t segment, Timings& timings);
  [[nodiscard]] SegmentQuantizer& quantizer() { return quantizer_; }

 private:
  void OpenStatistics(const std::string& sha256);
  [[nodiscard]] std::vector<bool> TakenSites() const;
  [[nodiscard]] std::vector<std::vector<size_t>> SitesByStage(size_t segment) const;
  [[nodiscard]] std::vector<size_t> Owned(const std::vector<size_t>& sites, int owner) const;
  [[nodiscard]] StatisticsBySite Statistics(size_t segment, size_t stage,
                                            const std::vector<size_t>& sites,
                                            const Overrides& quantized, Timings& timings);
  [[nodiscard]] SegmentResult Quantize(const std::vector<size_t>& sites,
                                       StatisticsBySite statistics, Timings& timings);
  void Exchange(const std::vector<size_t>& sites, SegmentResult& result);
  [[nodiscard]] SegmentResult Send(int from, SegmentResult& own);
  /// Whether this rank gets what the others have found.
  [[nodiscard]] bool Receives() const { return ranks_.is_root() || method_.propagate; }
  void SortBySite(SegmentResult& result) const;

  const Source& source_;
  const Recipe& recipe_;
  const Plan& plan_;
  Ranks& ranks_;
  const ModelInputs& inputs_;
  const OneOfSeveral others_;
  std::string note_;
  Method method_;
  std::vector<int> owners_;  ///< of each site
  std::unordered_map<size_t, std::vector<size_t>> sites_of_segment_;
  SegmentQuantizer quantizer_;
  std::optional<CalibrationRun> calibration_;
  std::optional<StatisticsFile> statistics_;
};

}  // namespace ptq
