// quantization_metadata.json: what was done to each linear of a model, from what, and with what
// effect.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "ptq/base/destination.h"
#include "ptq/emit/sidecars.h"
#include "ptq/model/model.h"
#include "ptq/plan/plan.h"
#include "ptq/quant/method.h"

namespace ptq {

inline constexpr char kMetadataFileName[] = "quantization_metadata.json";
/// Version of the file's structure (docs/metadata-schema.md): the first number changes when a
/// reader must change.
inline constexpr char kMetadataSchemaVersion[] = "1.2";

/// The model file that was read. File names only, never paths.
struct SourceDescription {
  std::string file;
  std::string sha256;  ///< of the .onnx file
  int64_t bytes = 0;   ///< of the .onnx file
  /// External data files and their sizes.
  std::vector<std::pair<std::string, int64_t>> data_files;
  std::map<std::string, int64_t> opsets;  ///< by domain; "" is ai.onnx
  int64_t ir_version = 0;
};
/// Hashes the model file. Throws InputError.
[[nodiscard]] SourceDescription DescribeSource(const Model& model);
/// As the metadata writes it.
[[nodiscard]] nlohmann::ordered_json ToJson(const SourceDescription& source);

/// One linear of the plan and what became of it.
struct LinearMetadata {
  std::string name;
  std::string node;  ///< name in the source graph
  std::string op_type;
  std::string site;  ///< name of the activation
  int64_t n = 0;
  int64_t k = 0;
  Decision decision = Decision::kKeep;
  std::string reason;  ///< empty when there is nothing to explain
  int64_t bytes_before = 0;
  int64_t bytes_after = 0;
  /// Only of quantized linears.
  struct Quantized {
    QuantSpec spec;
    std::string scaling = "none";
    double alpha = 0;
    std::string fold = "none";  ///< none, gain, rows, mul
    bool bias_corrected = false;
    double loss_before = 0;  ///< of round-to-nearest
    double loss_after = 0;
    double energy = 0;
    int64_t calibration_tokens = 0;  ///< seen at the site
  };
  std::optional<Quantized> quantized;
};
/// The entry of a linear with everything that the plan knows; `bytes_after` equals `bytes_before`
/// and `quantized` is empty.
[[nodiscard]] LinearMetadata DescribeLinear(const Graph& graph, const Linear& linear);
/// "mul", "gain", "rows".
[[nodiscard]] std::string FoldName(Fold::Kind kind);

/// How far the written model, loaded again, is from what the executor expects of it.
struct VerificationMetadata {
  double max_relative_error = 0;  ///< max |Δ| / max |expected| over the outputs
  double tolerance = 0;           ///< the limit that it kept
};

struct Metadata {
  std::string tool = "quantize";
  std::string version;
  nlohmann::ordered_json recipe;       ///< verbatim; an object
  nlohmann::ordered_json calibration;  ///< an object, or null without calibration
  SourceDescription source;
  std::vector<LinearMetadata> linears;
  Sidecars sidecars;               ///< files copied beside the model, and left out
  std::vector<WrittenFile> files;  ///< what the result consists of, but for this file
  std::vector<std::string> notes;  ///< what a reader should know, one sentence each
  std::optional<VerificationMetadata> verification;
};

/// The entry `left_out`.
[[nodiscard]] nlohmann::ordered_json ToJson(const std::vector<LeftOut>& left_out);

/// The file's content. Non-finite numbers become null. Nothing in it depends on the machine, the
/// number of threads or the clock.
[[nodiscard]] nlohmann::ordered_json ToJson(const Metadata& metadata);
/// Throws OutputError.
void WriteMetadata(const Metadata& metadata, const std::filesystem::path& directory);
/// The summary that the model file itself carries, as entries of its metadata_props.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> MetadataProps(
    const Metadata& metadata);

}  // namespace ptq
