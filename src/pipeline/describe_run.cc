// Makes the metadata from the recipe, the plan and the outcomes.
#include "describe_run.h"

namespace ptq {

Metadata DescribeRun(const Recipe& recipe, const Graph& graph, const SourceDescription& source,
                     const nlohmann::ordered_json& calibration, const RunReport& report) {
  Metadata metadata;
  metadata.recipe = ToJson(recipe);
  metadata.calibration = calibration;
  metadata.source = source;
  metadata.notes = report.notes;
  metadata.notes.insert(metadata.notes.end(), report.warnings.begin(), report.warnings.end());
  for (size_t i = 0; i < report.plan.linears.size(); ++i) {
    metadata.linears.push_back(DescribeLinear(graph, report.plan.linears[i], report.outcomes[i]));
  }
  for (size_t i = 0; i < report.plan.tables.size(); ++i) {
    metadata.tables.emplace_back(report.plan.tables[i], report.tables[i]);
  }
  for (size_t i = 0; i < report.plan.constants.size(); ++i) {
    metadata.constants.emplace_back(report.plan.constants[i], report.constants[i]);
  }
  metadata.caches = report.plan.caches;
  if (report.cache_samples.has_value()) metadata.cache_samples = ToJson(*report.cache_samples);
  metadata.islands = report.islands;
  return metadata;
}

}  // namespace ptq
