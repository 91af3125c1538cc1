// Files of quantize stats.
#include "fuzz.h"
#include <nlohmann/json.hpp>

#include "ptq/base/file.h"
#include "ptq/stats/statistics_file.h"

namespace ptq::fuzz {
namespace {

std::vector<std::string> Seeds() {
  const std::string path = InFile("seed.stats", "");
  const nlohmann::ordered_json provenance = {{"source", {{"file", "m.onnx"}}},
                                             {"calibration", {{"samples", 1}, {"tokens", 4}}}};
  StatisticsWriter writer(path, provenance, {{"a", 4}});
  SiteStatistics statistics(4);
  const std::vector<float> rows(16, 0.5f);
  const std::span<const float> part = rows;
  const uint64_t seed = 7;
  statistics.Add(std::span(&part, 1), std::span(&seed, 1));
  writer.Write(statistics);
  writer.Close();
  return {ReadTextFile(path)};
}

void Run(std::string_view input) {
  const StatisticsFile file(InFile("a.stats", input));
  for (const StoredSite& site : file.sites()) {
    (void)file.Read(site.name);
  }
}

}  // namespace

extern const Target statistics_target = {"statistics", Seeds, MutateText, Run};

}  // namespace ptq::fuzz
