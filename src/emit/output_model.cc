// Applies scales, biases and codes to a copy of the graph, and writes it with its data file.
#include "ptq/emit/output_model.h"

#include <algorithm>
#include <map>
#include <utility>

#include "bias_divisor.h"
#include "forms/form_nodes.h"
#include "held_experts.h"
#include "model_writer.h"
#include "product_writer.h"
#include "transform_request.h"
#include <spdlog/spdlog.h>

#include "ptq/base/error.h"
#include "ptq/base/half.h"
#include "ptq/emit/filter_form.h"
#include "ptq/emit/stored_codes.h"
#include "ptq/transform/edit_record.h"
#include "ptq/transform/transforms.h"

namespace ptq {

struct OutputModel::State {
  State(const Graph& source, const Plan& the_plan, std::filesystem::path path,
        const OutputFiles& the_files, bool drafts)
      : graph(source),
        plan(the_plan),
        directory(std::move(path)),
        files(the_files),
        output(source, directory / the_files.data, the_files.most_bytes),
        store(output.store),
        model(output.model) {
    if (drafts) store.OnlyMeasure();
    TransformRequest request = RequestFor(plan, model);
    passes = std::make_unique<Transforms>(output, request);
    if (!drafts && spdlog::should_log(spdlog::level::debug)) {
      for (const std::string& line : passes->Plan()) spdlog::debug(line);
    }
    passes->Apply(TransformStage::kCopied);
    output.TakeNodes();
    products = std::make_unique<ProductWriter>(output, plan, passes->folded_constants);
  }

  /// All edits are made: everything but the files.
  void Complete(ModelWriter& writer);
  /// What the tensors of a linear are called. In a draft equal ones have one name.
  [[nodiscard]] std::string TensorName(const Linear& linear) const;

  /// What a node reads, element [.., c] divided by divisor[c], for a value that the graph computes
  /// from constants, by a Mul behind it.
  void DivideComputed(const Use& use, std::span<const float> divisor, DType dtype);
  /// A constant 1/scale in the graph's type.
  std::string AddInverse(const std::string& name, std::span<const float> scale, DType dtype);
  void DivideBias(const Site& site, std::span<const float> scale);
  /// In a graph that computes in FP16 a bias has the type of what it is added to.
  [[nodiscard]] DType BiasType(const Linear& linear) const {
    return plan.half.has_value() ? linear.operand_type : DType::kUndefined;
  }
  void Replace(int node, std::vector<onnx::NodeProto> nodes);
  int64_t QuantizeProducts(const Linear& linear, const QuantizedMatrix& q,
                           const std::optional<ActivationLevels>& levels);
  void QuantizeStack(const Linear& linear, const QuantizedMatrix& q);
  void InsertMul(const Site& site, std::span<const float> scale);

  const Graph& graph;
  const Plan& plan;
  std::filesystem::path directory;
  OutputFiles files;
  OutputGraph output;
  TensorStore& store;
  onnx::ModelProto& model;
  std::unique_ptr<Transforms> passes;
  std::vector<std::pair<int, std::vector<onnx::NodeProto>>> replaced;  ///< for TakeEdits
  HeldExperts experts;
  std::unique_ptr<ProductWriter> products;
  std::map<ValueId, std::vector<float>> addend_errors;  ///< for TakeAddendErrors
  std::vector<int> equal_codes;  ///< FirstWithEqualCodes of a draft, whose codes nobody sees
};

OutputModel::OutputModel(const Graph& graph, const Plan& plan, std::filesystem::path directory,
                         const OutputFiles& files)
    : OutputModel(std::make_unique<State>(graph, plan, std::move(directory), files, false)) {
  std::error_code error;
  const auto folder = (state_->directory / files.model).parent_path();
  std::filesystem::create_directories(folder, error);
  if (error) throw OutputError("cannot create '" + folder.string() + "'");
}

OutputModel::OutputModel(std::unique_ptr<State> state) : state_(std::move(state)) {}

OutputModel OutputModel::Draft(const Graph& graph, const Plan& plan, const OutputFiles& files,
                               std::vector<int> equal_codes) {
  auto state = std::make_unique<State>(graph, plan, std::filesystem::path(), files,
                                       /*drafts=*/true);
  state->equal_codes = std::move(equal_codes);
  return OutputModel(std::move(state));
}

OutputModel::~OutputModel() = default;

std::string OutputModel::State::TensorName(const Linear& linear) const {
  if (equal_codes.empty()) return linear.name;
  const auto index = size_t(&linear - plan.linears.data());
  return plan.linears[size_t(equal_codes[index])].name;
}

std::string OutputModel::State::AddInverse(const std::string& name, std::span<const float> scale,
                                           DType dtype) {
  Tensor inverse(DType::kFloat32, {static_cast<int64_t>(scale.size())});
  const auto values = inverse.mutable_data<float>();
  for (size_t i = 0; i < scale.size(); ++i) {
    values[i] = 1.0f / scale[i];
    CheckFoldedValue(name, dtype, 1.0f, values[i]);
  }
  const Tensor stored = inverse.Cast(dtype);
  return store.Add(name + "_inverse_scale", dtype, stored.shape(), stored.bytes());
}

void OutputModel::State::DivideComputed(const Use& use, std::span<const float> divisor,
                                        DType dtype) {
  const std::string name = output.editor->InputOf(use.node, use.input);
  const std::string inverse = AddInverse(name, divisor, dtype);
  const std::string scaled = store.UniqueName(name + "_scaled");
  output.editor->InsertBehind(
      graph.inputs(use.node)[static_cast<size_t>(use.input)],
      MakeNode("Mul", store.UniqueName(name + "/scale"), {name, inverse}, scaled));
  output.editor->SetInput(use.node, use.input, scaled);
}

void OutputModel::State::InsertMul(const Site& site, std::span<const float> scale) {
  const std::string& name = graph.value(site.value).name;
  const DType dtype = plan.linears[static_cast<size_t>(site.linears.front())].operand_type;
  const std::string constant = AddInverse(name, scale, dtype);
  const std::string scaled = store.UniqueName(name + "_scaled");
  output.editor->InsertBehind(
      site.value, MakeNode("Mul", store.UniqueName(name + "/scale"), {name, constant}, scaled));
  for (const int index : site.linears) {
    output.editor->SetInput(plan.linears[static_cast<size_t>(index)].node, 0, scaled);
  }
}

void OutputModel::State::DivideBias(const Site& site, std::span<const float> scale) {
  const Use& bias = site.fold.bias;
  if (bias.node < 0) return;
  const auto divisor = BiasDivisor(plan, site, scale);
  if (graph.value(graph.inputs(bias.node)[static_cast<size_t>(bias.input)]).constant != nullptr) {
    passes->folded_constants.Divide(bias, divisor,
                                    BiasType(plan.linears[static_cast<size_t>(site.fold.linear)]));
  } else {
    DivideComputed(bias, divisor, plan.linears[static_cast<size_t>(site.fold.linear)].operand_type);
  }
}

void OutputModel::ScaleSite(const Site& site, std::span<const float> scale) {
  FoldedConstants& folded = state_->passes->folded_constants;
  switch (site.fold.kind) {
    case Fold::Kind::kMul: state_->InsertMul(site, scale); break;
    case Fold::Kind::kGain:
      for (const Use& use : site.fold.gains) folded.Divide(use, scale);
      break;
    case Fold::Kind::kLinearRows: state_->DivideBias(site, scale); break;
  }
  folded.Apply();
}

void OutputModel::AddBias(const Linear& linear, std::span<const float> bias) {
  State& state = *state_;
  if (linear.bias != kNoValue || linear.bias_add.node >= 0) {
    FoldedConstants& folded = state.passes->folded_constants;
    folded.Add(linear.bias != kNoValue ? Use{linear.node, 2} : linear.bias_add, bias,
               state.BiasType(linear));
    return folded.Apply();
  }
  Tensor own(DType::kFloat32, {linear.n});
  std::ranges::copy(bias, own.mutable_data<float>().begin());
  const Tensor stored = own.Cast(linear.operand_type);
  const std::string name = state.store.Add(linear.name + "_bias_correction", linear.operand_type,
                                           own.shape(), stored.bytes());
  state.products->SetOwnBias(linear.node, name, {bias.begin(), bias.end()});
}

int64_t OutputModel::Quantize(const Linear& linear, const QuantizedMatrix& q,
                              std::optional<ActivationLevels> levels) {
  State& state = *state_;
  if (q.n != linear.n || q.k != linear.k) {
    throw InternalError("'" + linear.name + "': codes of another shape");
  }
  if (StoredBits(q.spec.bits) != q.spec.bits) return Quantize(linear, AsStored(q), levels);
  const int64_t before = state.store.bytes_written();
  if (linear.IsExpert()) {  // all of a node's are written with the last that comes
    auto nodes = state.experts.Take(state.graph, state.plan, linear, q, state.store);
    if (nodes.has_value()) state.Replace(nodes->first, std::move(nodes->second));
    return linear.decision.bytes;
  }
  if (linear.gather >= 0) {
    state.QuantizeStack(linear, q);
    return state.store.bytes_written() - before;
  }
  const int64_t aside = state.QuantizeProducts(linear, q, levels);
  return state.store.bytes_written() - before - aside;
}

bool OutputModel::HoldsExperts() const { return state_->experts.IsWaiting(); }

void OutputModel::State::Replace(int node, std::vector<onnx::NodeProto> nodes) {
  replaced.emplace_back(node, nodes);
  output.editor->Replace(node, std::move(nodes));
}

/// Replaces the products by a weight. Returns the bytes that are no part of its form.
int64_t OutputModel::State::QuantizeProducts(const Linear& linear, const QuantizedMatrix& q,
                                             const std::optional<ActivationLevels>& levels) {
  const std::string name = TensorName(linear);
  int64_t aside = 0;
  const auto quantize = [&](int node, ValueId bias) {
    ProductWriter::Written written = products->Quantize(linear, {name, q, levels}, node, bias);
    for (auto& [replaced_node, nodes] : written.heirs) Replace(replaced_node, std::move(nodes));
    aside += written.aside;
    if (written.addend_error.empty()) return;
    addend_errors[graph.outputs(node)[0]] = std::move(written.addend_error);
  };
  quantize(linear.node, linear.bias);
  for (const ConstantProduct& product : linear.constant_products) {
    quantize(product.node, product.bias);
  }
  return aside;
}

void OutputModel::State::QuantizeStack(const Linear& linear, const QuantizedMatrix& q) {
  const onnx::NodeProto& gather = graph.nodes()[static_cast<size_t>(linear.gather)].proto();
  StackToEmit emit;
  emit.name = linear.name;
  emit.indices = output.editor->InputOf(linear.gather, 1);
  emit.output = gather.output(0);
  emit.node_name = gather.name().empty() ? linear.name + "/gather" : gather.name();
  emit.type = linear.operand_type;
  emit.q = &q;
  emit.experts = linear.experts;
  emit.swapped = !linear.operand_is_nk;
  Replace(linear.gather, WriterOf(*linear.decision.form).EmitStack(emit, store));
}

int64_t OutputModel::QuantizeTable(const Table& table, const TableRows& rows) {
  State& state = *state_;
  const int64_t before = state.store.bytes_written();
  TableToEmit emit;
  emit.name = table.name;
  emit.n = table.n;
  emit.k = table.k;
  emit.type = table.operand_type;
  emit.spec = AsStored(table.spec());
  emit.rows = [&](int64_t begin, int64_t end) { return AsStored(rows(begin, end)); };
  for (const int lookup : table.lookups) {
    const onnx::NodeProto& gather = state.graph.nodes()[size_t(lookup)].proto();
    emit.lookups.push_back({state.output.editor->InputOf(lookup, 1), gather.output(0),
                            gather.name().empty() ? gather.output(0) : gather.name()});
  }
  for (const int index : table.linears) {
    const Linear& linear = state.plan.linears[size_t(index)];
    emit.linears.push_back(state.products->Product(linear, linear.node, linear.bias));
  }
  TableNodes nodes = TableWriterOf(*table.decision.form).Emit(emit, state.store);
  for (size_t i = 0; i < nodes.lookups.size(); ++i) {
    state.Replace(table.lookups[i], std::move(nodes.lookups[i]));
  }
  for (size_t i = 0; i < nodes.linears.size(); ++i) {
    const Linear& linear = state.plan.linears[size_t(table.linears[i])];
    state.Replace(linear.node, std::move(nodes.linears[i]));
  }
  return state.store.bytes_written() - before;
}

void OutputModel::QuantizeFilters(const Constant& filters, const QuantizedMatrix& q) {
  State& state = *state_;
  const auto& dims = state.graph.value(filters.stored).constant->dims();
  FiltersToEmit emit{filters, {dims.begin(), dims.end()}, q, {}};
  for (const int node : filters.convolutions) {
    emit.to.push_back(state.graph.nodes()[size_t(node)].output(0) + "_filters");
  }
  auto nodes = FilterWriterOf(*filters.decision.form).Emit(emit, state.store);
  for (size_t i = 0; i < nodes.size(); ++i) {
    const int node = filters.convolutions[i];
    onnx::NodeProto convolution = state.graph.nodes()[size_t(node)].proto();
    for (int input = 0; input < convolution.input_size(); ++input) {
      if (convolution.input(input).empty()) continue;
      convolution.set_input(input, state.output.editor->InputOf(node, input));
    }
    convolution.set_input(1, emit.to[i]);
    nodes[i].push_back(std::move(convolution));
    state.Replace(node, std::move(nodes[i]));
  }
}

void OutputModel::SetAccuracyLevel(const Linear& linear, int level) {
  GraphEditor& editor = *state_->output.editor;
  editor.SetAttribute(linear.node, "accuracy_level", level);
  for (const ConstantProduct& product : linear.constant_products) {
    editor.SetAttribute(product.node, "accuracy_level", level);
  }
}

int64_t OutputModel::StoreAsHalf(const Linear& linear) {
  const auto bytes = state_->passes->half_storage.Store(linear.stored);
  if (bytes.has_value()) return *bytes;
  return BytesOf(linear.stored_type, linear.n * linear.k);
}

std::map<ValueId, std::vector<float>> OutputModel::TakeAddendErrors() {
  return std::exchange(state_->addend_errors, {});
}

nlohmann::json OutputModel::TakeEdits() {
  return ToJson(EditRecord{state_->store.TakeRecord(), std::exchange(state_->replaced, {})});
}

void OutputModel::Replay(const nlohmann::json& edits,
                         std::span<const std::pair<Site, std::vector<float>>> scaled,
                         std::span<const std::pair<int, std::vector<float>>> biases) {
  EditRecord record = EditRecordFromJson(edits);
  state_->store.RestoreTensors(record.store);
  for (const auto& [site, scale] : scaled) ScaleSite(site, scale);
  for (const auto& [linear, bias] : biases) AddBias(state_->plan.linears[size_t(linear)], bias);
  GraphEditor& editor = *state_->output.editor;
  for (auto& [node, heirs] : record.replaced) editor.Replace(node, std::move(heirs));
  state_->store.RestoreNames(record.store);
}

void OutputModel::Continue() { state_->store.Continue(); }

void OutputModel::SetMetadata(const std::string& key, const std::string& value) {
  for (auto& entry : *state_->model.mutable_metadata_props()) {
    if (entry.key() != key) continue;
    entry.set_value(value);
    return;
  }
  auto* entry = state_->model.add_metadata_props();
  entry->set_key(key);
  entry->set_value(value);
}

void OutputModel::State::Complete(ModelWriter& writer) {
  passes->Apply(TransformStage::kEdited);
  output.editor->RestoreUntouched(graph.model().spelled_out());
  output.editor->Commit();
  passes->Apply(TransformStage::kCommitted);
  writer.TakeNodeTensors();
  passes->Apply(TransformStage::kHeld);
}

void OutputModel::Finish() {
  ModelWriter writer(state_->output, state_->passes->half_storage);
  state_->Complete(writer);
  writer.Write(state_->directory / state_->files.model);
}

FileSizes OutputModel::Measure() {
  ModelWriter writer(state_->output, state_->passes->half_storage);
  state_->Complete(writer);
  const int64_t model = writer.Measure();
  return {model, state_->store.files()};
}

}  // namespace ptq
