// Small graphs, executed on inputs of the declared types.
#include <map>

#include "fuzz.h"
#include "operator_models.h"
#include "support/model_builder.h"

#include "ptq/runtime/run_model.h"

namespace ptq::fuzz {
namespace {

constexpr int64_t kMostElements = 1 << 16;

std::vector<std::string> Seeds() {
  std::vector<std::string> seeds = OperatorModels();
  for (int i = 0; i < 40; ++i) seeds.push_back(testing::ToyDecoder(1).Bytes());
  return seeds;
}

/// Small positive values, so that ids and shapes are mostly valid.
Tensor InputOf(const Graph::Declared& declared) {
  Shape shape = declared.shape.value_or(Shape{2, 4, 4});
  for (int64_t& dim : shape) dim = dim < 0 ? 2 : dim;
  if (NumElements(shape) > kMostElements) shape = {2};
  Tensor values(DType::kFloat32, shape);
  int64_t next = 0;
  for (float& value : values.mutable_data<float>()) value = float(next++ % 5);
  const DType dtype = declared.dtype == DType::kUndefined ? DType::kFloat32 : declared.dtype;
  return dtype == DType::kFloat32 ? values : values.Cast(dtype);
}

void Run(std::string_view input) {
  const Model model = Model::Load(InFile("run/model.onnx", input));
  const Graph graph(model);
  const Executor executor(graph);
  std::map<std::string, Tensor> inputs;
  for (const ValueId id : graph.graph_inputs()) {
    inputs[graph.value(id).name] = InputOf(graph.DeclaredType(id));
  }
  (void)RunModel(executor, inputs);
}

}  // namespace

extern const Target run_target = {"run", Seeds, MutateModel, Run};

}  // namespace ptq::fuzz
