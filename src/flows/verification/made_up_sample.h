// A model loaded to be run, and a sample for it that nobody gave.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "ptq/model/graph.h"
#include "ptq/model/model.h"
#include "ptq/runtime/executor.h"
#include "ptq/tensor/tensor.h"

namespace ptq {

using Arrays = std::map<std::string, Tensor>;

/// A model that is loaded to be run.
struct Runner {
  explicit Runner(const std::filesystem::path& path)
      : model(Model::Load(path)), graph(model), executor(graph) {}
  Model model;
  Graph graph;
  Executor executor;
};

/// A short text of made-up tokens, or noise for a model that reads no tokens. Throws
/// UnsupportedError for inputs that nobody can make up.
[[nodiscard]] Arrays SampleFor(const Runner& runner);

/// What the model gives for a made-up sample. Throws UnsupportedError when it cannot take it.
[[nodiscard]] Arrays RunOnSample(const Runner& runner, const Arrays& sample);

}  // namespace ptq
