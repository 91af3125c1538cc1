// The files of a model that was read.
#pragma once

#include <filesystem>
#include <vector>

#include "ptq/model/model.h"

namespace ptq {

/// The model file, then its data files, as paths.
[[nodiscard]] inline std::vector<std::filesystem::path> PathsOf(const Model& model) {
  std::vector<std::filesystem::path> paths = {model.path()};
  for (const std::string& name : model.ExternalFiles()) paths.push_back(model.DataFile(name));
  return paths;
}

}  // namespace ptq
