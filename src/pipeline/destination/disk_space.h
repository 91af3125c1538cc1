// What a run will write, compared with the room that there is.
#pragma once

#include <cstdint>
#include <filesystem>

#include "ptq/pipeline/run.h"
#include "ptq/plan/plan.h"
#include "ptq/plan/recipe.h"

namespace ptq {

/// Bytes on disk, estimated from the plan.
struct DiskNeed {
  int64_t result = 0;
  int64_t activations = 0;  ///< on a cut: of the checkpoint, and of the one that replaces it

  [[nodiscard]] int64_t Total() const;
};

/// The model that a planned run writes. `source_bytes` of the model's files.
[[nodiscard]] int64_t PredictResultBytes(const RunReport& report, const Recipe& recipe,
                                         int64_t source_bytes);
/// Activations of so many tokens on a cut, as a checkpoint holds them.
[[nodiscard]] int64_t PredictActivationBytes(const Plan& plan, int64_t tokens, bool propagates);

/// How much of the need there is no room for where `staged` lies; what is in it counts as written.
[[nodiscard]] int64_t MissingBytes(const std::filesystem::path& staged, const DiskNeed& need);
/// Throws NoSpaceError when there is something missing.
void CheckDiskSpace(const std::filesystem::path& staged, const DiskNeed& need);

}  // namespace ptq
