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
#include "ptq/plan/gate.h"
#include "ptq/plan/outcome.h"
#include "ptq/plan/plan.h"
#include "ptq/quant/method.h"

namespace ptq {

inline constexpr char kMetadataFileName[] = "quantization_metadata.json";
/// Version of the file's structure (docs/metadata-schema.md): the first number changes when a
/// reader must change.
inline constexpr char kMetadataSchemaVersion[] = "1.6";

/// The model file that was read. File names only, never paths.
struct SourceDescription {
  std::string file;
  std::string sha256;                     ///< of the .onnx file
  int64_t bytes = 0;                      ///< of the .onnx file
  std::vector<WrittenFile> data_files;    ///< external data; hashes may come later
  std::map<std::string, int64_t> opsets;  ///< by domain; "" is ai.onnx
  int64_t ir_version = 0;

  /// Enters the hashes of the data files, in their order.
  void Enter(const std::vector<std::string>& hashes);
};
/// Hashes the model file, but not its data files. Throws InputError.
[[nodiscard]] SourceDescription DescribeSource(const Model& model);
/// The paths of the data files, in the order of the description.
[[nodiscard]] std::vector<std::filesystem::path> DataFilesOf(const Model& model);
/// The entry `tool`: this program, its version, and the hash of its file, which says which build.
[[nodiscard]] nlohmann::ordered_json ToolJson();
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
  Decision decision;  ///< its reason is empty when there is nothing to explain
  Outcome outcome;
};
/// The entry of a linear of the plan: a note of its outcome takes the place of the plan's reason.
[[nodiscard]] LinearMetadata DescribeLinear(const Graph& graph, const Linear& linear,
                                            const Outcome& outcome);

/// How far the written model, loaded again, is from what the executor expects of it.
struct VerificationMetadata {
  double max_relative_error = 0;  ///< max |Δ| / max |expected| over the outputs
  double tolerance = 0;           ///< the limit that it kept
};

// NOLINTNEXTLINE(bugprone-exception-escape): moving JSON does not throw
struct Metadata {
  nlohmann::ordered_json recipe;       ///< verbatim; an object
  nlohmann::ordered_json calibration;  ///< an object, or null without calibration
  SourceDescription source;
  std::vector<LinearMetadata> linears;
  std::vector<std::pair<Table, Outcome>> tables;        ///< of the plan, and what became of them
  std::vector<std::pair<Constant, Outcome>> constants;  ///< the same
  std::optional<QuantizedCaches> caches;                ///< of the plan
  nlohmann::ordered_json cache_samples;    ///< what their scales are from; null without caches
  std::map<std::string, int64_t> islands;  ///< FP32 nodes of a graph that computes in FP16, by why
  Sidecars sidecars;                       ///< files copied beside the model, and left out
  std::vector<WrittenFile> files;          ///< what the result consists of, but for this file
  std::vector<std::string> notes;          ///< what a reader should know, one sentence each
  std::optional<VerificationMetadata> verification;
  std::optional<GateReport> gate;  ///< of a recipe with gates
  std::string model_card;          ///< file name of a card that the run wrote; empty: none
};

/// A table or a constant: what it is, and what it becomes. Of one that becomes codes also which,
/// and its losses when they are known.
[[nodiscard]] nlohmann::ordered_json SubjectJson(const Subject& subject, const Outcome& outcome);

/// The entry `caches`: each cache, its codes, and the least and largest of its scales, which are
/// null before samples were seen.
[[nodiscard]] nlohmann::ordered_json ToJson(const QuantizedCaches& caches);

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
