// The beginning of a run, which a rehearsal shares.
#pragma once

#include <filesystem>
#include <string>

#include "destination/disk_space.h"
#include "run_context.h"
#include <nlohmann/json.hpp>

#include "ptq/search/segment_search.h"

namespace ptq {

/// What a search starts from.
struct SearchStart {
  const Recipe& recipe;
  const Source& source;
  const RunContext& context;
  const std::string& sha256;             ///< of the model file
  const std::filesystem::path& scratch;  ///< a directory for activations that do not fit in memory
};

/// Has the search read its samples or statistics. The report says where they are from, what is left
/// out and how much memory is needed. Returns what the disk must have room for. Throws what
/// SegmentSearch::Start throws, and ResourceError when the memory is over the recipe's budget.
[[nodiscard]] DiskNeed StartSearch(SegmentSearch& search, const SearchStart& start,
                                   RunReport& report);

/// What must be the same for a run to go on with what an interrupted one has left. The search has
/// been started.
[[nodiscard]] nlohmann::ordered_json IdentityOf(const Recipe& recipe, const Source& source,
                                                const std::string& sha256,
                                                const SegmentSearch& search);

}  // namespace ptq
