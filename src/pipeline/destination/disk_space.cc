// Predicts the bytes of a result and of its checkpoints.
#include "disk_space.h"

#include <algorithm>
#include <limits>
#include <string>

#include "ptq/base/disk.h"
#include "ptq/base/format.h"

namespace ptq {
namespace {

/// What the graph, the metadata and small files beside them may take.
constexpr int64_t kSmallFiles = 1 << 20;

/// Sizes may come near the largest number.
int64_t Sum(int64_t a, int64_t b) {
  return a > std::numeric_limits<int64_t>::max() - b ? std::numeric_limits<int64_t>::max() : a + b;
}

}  // namespace

int64_t DiskNeed::Total() const { return Sum(result, activations); }

int64_t PredictResultBytes(const RunReport& report, const Recipe& recipe, int64_t source_bytes) {
  int64_t before = 0, after = 0;
  for (const Outcome& outcome : report.outcomes) {
    before = Sum(before, outcome.bytes_before);
    after = Sum(after, outcome.bytes_after);
  }
  for (size_t i = 0; i < report.tables.size(); ++i) {
    const Table& table = report.plan.tables[i];
    if (!table.decision.quantizes() || !table.linears.empty()) continue;
    before = Sum(before, report.tables[i].bytes_before);
    after = Sum(after, report.tables[i].bytes_after);
  }
  for (size_t i = 0; i < report.constants.size(); ++i) {
    if (!report.plan.constants[i].decision.quantizes()) continue;
    before = Sum(before, report.constants[i].bytes_before);
    after = Sum(after, report.constants[i].bytes_after);
  }
  const int64_t others = std::max<int64_t>(0, source_bytes - before);
  // Some constants may stay float32: the least that is needed.
  return Sum(Sum(after, recipe.half_floats ? others / 2 : others), kSmallFiles);
}

int64_t PredictActivationBytes(const Plan& plan, int64_t tokens, bool propagates) {
  int64_t width = 0;  // of the residual stream: the narrowest that linears read
  for (const Site& site : plan.sites) {
    const int64_t k = plan.linears[size_t(site.linears.front())].k;
    width = width == 0 ? k : std::min(width, k);
  }
  constexpr int64_t kHalf = 2, kCheckpoints = 2;
  return tokens * width * kHalf * kCheckpoints * (propagates ? 2 : 1);
}

int64_t MissingBytes(const std::filesystem::path& staged, const DiskNeed& need) {
  const auto room = FreeBytes(staged);
  if (!room.has_value()) return 0;
  return std::max<int64_t>(0, need.Total() - Sum(*room, BytesIn(staged)));
}

void CheckDiskSpace(const std::filesystem::path& staged, const DiskNeed& need) {
  const int64_t missing = MissingBytes(staged, need);
  if (missing == 0) return;
  const std::string activations =
      need.activations > 0 ? " and " + FormatBytes(need.activations) + " of activations" : "";
  throw NoSpaceError("not enough room in '" + staged.parent_path().string() +
                     "': " + FormatBytes(need.result) + " of results" + activations +
                     " are to come, " + FormatBytes(FreeBytes(staged).value_or(0)) +
                     " are free, so " + FormatBytes(missing) +
                     " are missing; free that much, or choose another --dst");
}

}  // namespace ptq
