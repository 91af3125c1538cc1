// Whether more samples would still change what calibration finds.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

namespace ptq {

/// How far two halves of a set agree, over all sites of a model.
struct HalfAgreement {
  int64_t sites = 0;
  double alpha_change = 0;  ///< mean difference of the exponents that awq chooses, 0 to 1
  /// How much more the codes and scales of one half lose on the other than that half's own, in
  /// parts of what these lose: mean over both directions and all linears.
  double loss_change = 0;
};

/// Runs the model on both halves of `ids` (those of even and of odd number), and searches scales
/// and codes (awq, and GPTQ for the losses) of 4 bits in groups of 128 with the statistics of each.
/// Statistics of one segment are held at a time. Throws what Source, StartCalibration and
/// QuantizeSite throw.
[[nodiscard]] HalfAgreement CompareHalves(const std::filesystem::path& model,
                                          const std::vector<std::vector<int64_t>>& ids,
                                          int64_t seq_len);

}  // namespace ptq
