// What follows a model on its way to the embedding of a text, from the files beside it.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ptq/evaluate/pooling.h"

namespace ptq {

/// The modules of sentence-transformers that come after the transformer itself: pooling, dense
/// layers, normalization. Immutable; may be used from several threads.
class SentenceModules {
 public:
  /// Pooling alone.
  explicit SentenceModules(Pooling pooling) : poolings_{pooling} {}

  /// Reads modules.json beside the model at `source` (a file or directory), or in the folder above
  /// where the model lies in one of its own ("onnx/"), with the modules' configurations and
  /// weights. Nothing when there is no such file. Throws InputError for what is malformed,
  /// UnsupportedError for modules of other kinds.
  [[nodiscard]] static std::optional<SentenceModules> Find(const std::filesystem::path& source);

  /// The embedding, not normalized, of a text's states [T, width]. Throws InputError when a dense
  /// layer expects another width.
  [[nodiscard]] std::vector<double> Apply(std::span<const float> states, int64_t width) const;

  /// "cls", "mean + max", "last, dense 64 x 96": for people.
  [[nodiscard]] std::string Description() const;

 private:
  using Vector = std::vector<double>;
  struct Layer {
    std::string name;  ///< empty: not worth a word
    std::function<Vector(const Vector&)> apply;
  };
  SentenceModules() = default;
  static SentenceModules Read(const std::filesystem::path& directory);
  static std::vector<Pooling> ReadPoolings(const std::filesystem::path& directory);
  static Layer ReadDense(const std::filesystem::path& directory);

  std::vector<Pooling> poolings_;  ///< one or more, concatenated
  std::vector<Layer> layers_;
};

}  // namespace ptq
