// A model file as it is planned: loaded, dequantized where it asks for it, analysed, sized.
#include <filesystem>

#include "fuzz.h"
#include "operator_models.h"
#include "support/model_builder.h"

#include "ptq/base/ranks.h"
#include "ptq/pipeline/run.h"
#include "ptq/report/run_report.h"

namespace ptq::fuzz {
namespace {

std::vector<std::string> Seeds() {
  std::vector<std::string> seeds = OperatorModels();
  for (int i = 0; i < 40; ++i) seeds.push_back(testing::ToyDecoder(1 + i % 2).Bytes());
  return seeds;
}

void Run(std::string_view input) {
  Recipe recipe;
  recipe.source = InFile("model/model.onnx", input);
  recipe.destination = recipe.source.parent_path().parent_path() / "model-out";
  recipe.method = "rtn";
  recipe.group_size = 32;
  recipe.requantize = input.size() % 2 == 0;
  Ranks alone = Ranks::Alone();
  (void)PlanText(RehearseRun(recipe, {}, alone));
}

}  // namespace

extern const Target model_target = {"model", Seeds, MutateModel, Run};

}  // namespace ptq::fuzz
