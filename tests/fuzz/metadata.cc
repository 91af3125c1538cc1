// quantization_metadata.json, as inspect and reports read it.
#include "ptq/emit/metadata.h"

#include "fuzz.h"
#include "support/model_builder.h"
#include <nlohmann/json.hpp>

#include "ptq/base/file.h"
#include "ptq/base/json.h"
#include "ptq/pipeline/run.h"
#include "ptq/report/linear_order.h"
#include "ptq/report/metadata_report.h"
#include "ptq/report/report.h"

namespace ptq::fuzz {
namespace {

std::vector<std::string> Seeds() {
  Recipe recipe;
  recipe.source = InFile("metadata/model.onnx", testing::ToyDecoder(1).Bytes());
  recipe.destination = recipe.source.parent_path().parent_path() / "metadata-out";
  recipe.method = "rtn";
  recipe.group_size = 32;
  recipe.overwrite = true;
  (void)ptq::Run(recipe);
  const std::string whole = ReadTextFile(recipe.destination / kMetadataFileName);
  return {whole, R"({"models": [)" + whole + "]}"};
}

void Run(std::string_view input) {
  const auto json = ParseJson<nlohmann::ordered_json>(input);
  if (!json.is_object()) return;
  (void)MetadataText(ArrangedMetadata(json, {LinearKey::kError, 0}));
  (void)ReportOf(json);
}

}  // namespace

extern const Target metadata_target = {"metadata", Seeds, MutateText, Run};

}  // namespace ptq::fuzz
