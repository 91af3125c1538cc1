// A method is three choices: how weights are scaled, on which grid they lie, how they are rounded.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ptq/quant/spec.h"
#include "ptq/tensor/activation_levels.h"
#include "ptq/tensor/matrix_rows.h"

namespace ptq {

/// Which linears get a bias that makes up for the mean of their error.
enum class BiasCorrection {
  kNone,
  kPresent,  ///< those that have a bias
  kAll,      ///< all that may be given one
};

/// Between which values the levels of an activation lie that are found beforehand.
struct ActivationRange {
  enum class Rule {
    kMinmax,      ///< all that were seen
    kPercentile,  ///< a part of them; half of the others is above, half below
    kMse,         ///< where the products lose least: what is cut off against the levels' distance
    kEntropy,     ///< where the distribution changes least (KL divergence)
  };
  Rule rule = Rule::kMse;
  double percentile = 99.999;  ///< percent of the values, for kPercentile

  /// Whether single tokens have to be seen, not only the extremes of channels.
  [[nodiscard]] bool needs_sample() const { return rule != Rule::kMinmax; }
};

struct Method {
  std::string scaling = "none";      ///< a name of Scalings()
  std::string grid = "minmax";       ///< a name of Grids()
  std::string rounding = "nearest";  ///< a name of Roundings()
  int refine = 0;  ///< rounds in which scales and codes improve each other afterwards
  BiasCorrection bias = BiasCorrection::kNone;
  double shrinkage = 0;    ///< least part by which the Gram matrix' off-diagonal is shrunk
  bool propagate = false;  ///< whether weights are corrected for the errors of earlier layers
  /// Of activations whose levels are found beforehand.
  ActivationRange activation_range = {ActivationRange::Rule::kMinmax};
};

/// "minmax", "percentile:99.999", "mse", "entropy".
[[nodiscard]] std::string ActivationRangeName(const ActivationRange& range);
/// The names of the rules.
[[nodiscard]] std::vector<std::string> ActivationRangeNames();

/// The method behind a preset name (rtn, awq …). Throws UsageError that lists the presets.
[[nodiscard]] Method MethodFromPreset(std::string_view name);
[[nodiscard]] std::vector<std::string> MethodPresetNames();
/// Whether the method needs calibration (statistics of the activations).
[[nodiscard]] bool NeedsStatistics(const Method& method);

/// One weight to quantize.
struct LinearProblem {
  std::string name;  ///< for messages
  MatrixRows w;      ///< [N, K]
  QuantSpec spec;
  /// Whose grid, rounding and rounds of refinement are its own; null: those of the site's method.
  const Method* method = nullptr;
};

/// How a site's activations x / s are rounded before they reach the products: not at all, to levels
/// that are the same for all tokens, or token by token.
struct ActivationRounding {
  /// So many levels, evenly from the least of all channels to the largest (0 included), whose
  /// ranges follow, [K]; 0: not so. Losses count that, too, where there is a Gram matrix.
  int levels = 0;
  std::span<const float> lowest = {};
  std::span<const float> highest = {};
  /// Whether these levels are to be found: for all runs, not by each. Looks at the `sample`, too.
  bool finds_levels = false;
  /// Instead, those of each token in blocks of so many channels, to 255 levels evenly between ± the
  /// largest magnitude (accuracy level 4 of MatMulNBits), which costs what it costs for the
  /// `sample` of tokens, [rows, K]; 0: not so.
  int64_t block = 0;
  std::span<const float> sample = {};
  bool counts = true;  ///< in losses; else only LinearResult::activation_loss tells of it
};

/// All linears fed by one activation (siblings), with what is known of it.
struct SiteProblem {
  int64_t k = 0;
  /// That were seen: H's off-diagonal is shrunk by K / (K + tokens/4). 0: unknown, H stays as it
  /// is.
  int64_t tokens = 0;
  std::span<const float> mean_abs;  ///< [K] mean |x|; empty without calibration
  std::span<const float> max_abs;   ///< [K] max |x|; empty without calibration
  ActivationRounding activations;
  std::span<const float> gram;  ///< [K, K] lower triangle of Σ x xᵀ, row-major; empty without
  /// [K, K] Σ (x − x̂) x̂ᵀ, row-major, where the statistics are of x̂ and the original model gives x;
  /// or empty. With it, weights are corrected before they are quantized, and losses are those of
  /// quantizing the corrected ones.
  std::span<const float> cross;
  /// [K] Σ x̂ and Σ (x − x̂) over the tokens; not empty: every linear gets a bias that makes up for
  /// the mean of its error, and `gram` and `cross` are those of the deviations from the means.
  std::span<const double> sum;
  std::span<const double> shift_sum;
  std::vector<LinearProblem> linears;
  bool scaling_allowed = true;  ///< false for tied weights
  /// [K] or empty: channels with the same number get the same scale, since it folds into one row of
  /// the producer (grouped-query attention).
  std::span<const int64_t> row_of_channel;
  float scale_min = 1e-2f;  ///< bounds on s; tighter where a folded producer could overflow
  float scale_max = 1e2f;
};

/// A scaling that was tried at a site, on a sample of the linears' rows.
struct ScalingTrial {
  std::string scaling;       ///< "none", "awq" …
  double alpha = 0;          ///< 0 of none
  double relative_loss = 0;  ///< by rounding to nearest: of loss / energy the linears' mean
  bool operator==(const ScalingTrial&) const = default;
};

struct LinearResult {
  QuantizedMatrix q;        ///< of W · diag(s)
  std::vector<float> bias;  ///< [N] to be added to its outputs; empty: none
  double loss = 0;  ///< tr(ΔHΔᵀ) in original coordinates; ‖Δ‖² without calibration; and
                    ///< tokens · Σ variance_j Q(W·diag(s))_j² where rounded activations count
  double loss_rtn = 0;  ///< the same for round-to-nearest with no scaling; loss ≤ loss_rtn always
  double energy = 0;    ///< tr(WHWᵀ) (‖W‖² without calibration), to make the losses relative
  double activation_loss = 0;  ///< what rounding the sample costs, made up for all tokens; in
                               ///< `loss` as far as channels are independent, or not at all
  /// Where `loss` comes from: what the codes cost, without rounded activations, and what those that
  /// are nearest on the same grid would.
  double weight_loss = 0;
  double nearest_loss = 0;
  /// Of Σ ‖W x − W x̂‖², the errors of earlier layers: what correcting the weights took back.
  /// Absent where none were corrected.
  std::optional<double> propagation_loss = {};
};

struct SiteResult {
  std::vector<float> scale;      ///< s[K]; empty when the site is not scaled
  std::string scaling = "none";  ///< what was kept: none, awq, awq-duo …
  double alpha = 0;
  std::vector<LinearResult> linears;
  std::optional<ActivationLevels> levels;  ///< of x / s, where they are to be found
  std::vector<ScalingTrial> trials;        ///< none first; empty where no scale was searched
};

/// Quantizes every linear of a site by a method: the scaling is found for all of them together,
/// grid and rounding may be those of each. Pure: no files, no graph. Throws InputError when a
/// weight is NaN or infinite, UsageError for an unknown piece. The result is the same for any
/// number of threads.
///
/// Never worse than round-to-nearest (min-max grid, no scaling) on the loss, per linear:
///  * Under a given scale, each row keeps the better of the method's grid and rounding, and of
///    min-max and nearest, by the loss of the whole row.
///  * The scale is shared by the siblings, so it is kept or dropped for all of them: it must lower
///    Σ loss/energy by a margin, and leave no linear above its own unscaled round-to-nearest. The
///    next best scale is tried when one does; after a few, the site stays unscaled.
/// levels of activations that are found from a sample are never worse than those between the
/// extremes on what the products lose on these rows. Statistics that are not finite count as none:
/// no scaling, and without a Gram matrix the loss is ‖Δ‖².
[[nodiscard]] SiteResult QuantizeSite(const SiteProblem& problem, const Method& method);

/// Throws the InputError of QuantizeSite for a weight that has no codes (CheckFiniteWeights).
[[noreturn]] void RefuseWeight(const std::string& name);

}  // namespace ptq
