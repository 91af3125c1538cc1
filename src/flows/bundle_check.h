// Runs a bundle beside the models that it is made of.
#pragma once

#include <filesystem>
#include <vector>

#include "ptq/flows/bundle.h"

namespace ptq {

/// Compares a bundle's files in `directory` with the models on a made-up sample. Not done, with a
/// note, where a model has an operator that the executor lacks, or an input that cannot be made up.
/// Throws QualityError when an output differs by more than rounding.
[[nodiscard]] BundleVerification VerifyBundle(const BundleRequest& request,
                                              const std::filesystem::path& directory,
                                              const std::vector<std::filesystem::path>& files);

}  // namespace ptq
