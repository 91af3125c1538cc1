// The whole road on small decoders: calibrated, searched, written, verified.
#include <filesystem>

#include "fuzz.h"
#include "support/model_builder.h"

#include "ptq/pipeline/run.h"
#include "ptq/tensor/npz.h"

namespace ptq::fuzz {
namespace {

std::vector<std::string> Seeds() {
  return {testing::ToyDecoder(1).Bytes(), testing::ToyDecoder(2).Bytes()};
}

std::filesystem::path Ids() {
  static const std::string path = [] {
    std::string file = InFile("ids.npz", "");
    std::vector<int64_t> ids;
    for (int64_t i = 0; i < 32; ++i) ids.push_back(i * 5 % testing::kToyVocabulary);
    WriteNpz(file, {{"input_ids", Tensor::From<int64_t>({4, 8}, ids)}});
    return file;
  }();
  return path;
}

/// Which form and method: by the input's length, so that an input means the same each time.
Recipe RecipeFor(std::string_view input) {
  static constexpr const char* kMethods[] = {"rtn", "awq", "gptq", "best"};

  Recipe recipe;
  recipe.source = InFile("quantize/model.onnx", input);
  recipe.destination = recipe.source.parent_path().parent_path() / "quantize-out";
  recipe.method = kMethods[input.size() % 4];
  if (input.size() % 7 == 0) recipe.format = "qdq";
  recipe.bits = input.size() % 5 == 0 ? 8 : 4;
  recipe.group_size = 32;
  recipe.calibration.files = {Ids()};
  recipe.overwrite = true;
  return recipe;
}

void Run(std::string_view input) {
  RunOptions options;
  options.restart = true;
  options.force = true;
  (void)ptq::Run(RecipeFor(input), options);
}

}  // namespace

extern const Target quantize_target = {"quantize", Seeds, MutateModel, Run};

}  // namespace ptq::fuzz
