// Writes two models as one: a graph that switches, or two files or a package over one data file.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "ptq/model/model.h"
#include "ptq/transform/switched_model.h"

namespace ptq {

/// What a bundle is on the disk.
enum class BundleForm {
  kGraph,    ///< model.onnx, whose input `precision` chooses
  kFiles,    ///< model_NAME.onnx twice, over one data file
  kPackage,  ///< a model package of ONNX Runtime: a component for each model, shared weights
};

struct BundleOptions {
  BundleForm form = BundleForm::kGraph;
  SwitchForm switch_form = SwitchForm::kLinear;
  SwitchOptions choice;
};

/// What a bundle consists of.
struct BundleFigures {
  int64_t model_bytes = 0;  ///< of the .onnx files
  int64_t data_bytes = 0;   ///< of the data file
  /// Bytes of tensors that both models have, and that only the first, or the second, has.
  int64_t shared_bytes = 0;
  std::array<int64_t, 2> own_bytes{};
  int64_t regions = 0;       ///< of a graph: how many Ifs there are
  int64_t common_nodes = 0;  ///< of a graph: nodes outside of them that both models have
};

class BundleWriter {
 public:
  /// Compares the models, which must outlive this object (Model::LoadUnchanged). Throws
  /// UnsupportedError or UsageError when they cannot be bundled so (CheckSwitchable), UsageError
  /// when they are one and the same.
  BundleWriter(const Model& first, const Model& second, BundleOptions options);
  ~BundleWriter();
  BundleWriter(const BundleWriter&) = delete;
  BundleWriter& operator=(const BundleWriter&) = delete;

  /// What Write would write; reads tensors, writes nothing.
  [[nodiscard]] BundleFigures Measure() const;
  /// Writes the models and their data into a directory, side by side also for a package, and checks
  /// that a runtime can load them. Throws OutputError, QualityError.
  [[nodiscard]] BundleFigures Write(const std::filesystem::path& directory) const;

  /// Names of the model files that Write writes: one, or one for each model.
  [[nodiscard]] std::vector<std::filesystem::path> ModelFiles() const;
  [[nodiscard]] static std::filesystem::path DataFile() { return "model.onnx.data"; }

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Gives the files of a written bundle their places in a model package of ONNX Runtime (schema 1.0:
/// manifest.json, a component for each model, the data file as a shared asset) and returns their
/// names below `directory`. Throws OutputError.
[[nodiscard]] std::vector<std::filesystem::path> ArrangePackage(
    const std::filesystem::path& directory, const std::array<std::string, 2>& names,
    const std::string& package_name, bool has_data);

}  // namespace ptq
