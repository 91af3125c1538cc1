// Two finished forms of one model, bundled so that a service can switch between them.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "ptq/emit/bundle_writer.h"
#include "ptq/emit/metadata.h"

namespace ptq {

struct BundleRequest {
  std::array<std::filesystem::path, 2> sources;  ///< .onnx files or their directories
  std::filesystem::path destination;             ///< a directory
  BundleOptions options;   ///< the models' names may be empty: those of their directories
  bool overwrite = false;  ///< an earlier result may be replaced
  bool dry_run = false;    ///< nothing is written, and the models are not run
  bool verify = true;      ///< the bundle is run on a sample, and the models, too
};

/// How the bundle's outputs compare with those of each model alone.
struct BundleVerification {
  bool done = false;
  std::string note;         ///< why not
  double max_relative = 0;  ///< max |Δ| ÷ max |expected| over the outputs of both models
};

struct BundleReport {
  std::filesystem::path destination;
  BundleOptions options;  ///< with the names that were found
  std::array<SourceDescription, 2> sources;
  std::array<int64_t, 2> source_bytes{};  ///< of each model's files
  BundleFigures figures;
  BundleVerification verification;
  std::vector<WrittenFile> files;  ///< written, but for the metadata; empty in a dry run
};

/// Bundles two models. The destination appears complete, or not at all. Throws UsageError and
/// UnsupportedError when they cannot be bundled so, QualityError when the written bundle does not
/// compute what they compute, OutputError, InputError, Interrupted.
[[nodiscard]] BundleReport BundleModels(const BundleRequest& request);

}  // namespace ptq
