// Applies scales, biases and codes to a copy of the graph, and writes it with its data file.
#include "ptq/emit/output_model.h"

#include <algorithm>
#include <map>
#include <utility>

#include "bias_divisor.h"
#include "forms/form_nodes.h"
#include "held_experts.h"
#include "model_writer.h"
#include "packed_attention.h"
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
  [[nodiscard]] LinearToEmit Product(const Linear& linear, int node, ValueId bias) const;
  void Replace(int node, std::vector<onnx::NodeProto> nodes);
  /// Codes of a weight, and the levels of what it is multiplied with where they are known.
  struct Factors {
    const QuantizedMatrix& q;
    std::optional<StaticRounding> rounding;
  };
  void QuantizeProduct(const Linear& linear, const Factors& factors, int node, ValueId bias);
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
  std::map<int, RoundedInputs> rounded;   ///< by scope
  std::map<int, std::string> own_biases;  ///< of nodes that had none
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
  state.own_biases[linear.node] = state.store.Add(linear.name + "_bias_correction",
                                                  linear.operand_type, own.shape(), stored.bytes());
}

int64_t OutputModel::Quantize(const Linear& linear, const QuantizedMatrix& q,
                              std::optional<StaticRounding> rounding) {
  State& state = *state_;
  if (q.n != linear.n || q.k != linear.k) {
    throw InternalError("'" + linear.name + "': codes of another shape");
  }
  if (StoredBits(q.spec.bits) != q.spec.bits) return Quantize(linear, AsStored(q), rounding);
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
  state.QuantizeProduct(linear, {q, rounding}, linear.node, linear.bias);
  for (const ConstantProduct& product : linear.constant_products) {
    state.QuantizeProduct(linear, {q, rounding}, product.node, product.bias);
  }
  return state.store.bytes_written() - before;
}

bool OutputModel::HoldsExperts() const { return state_->experts.IsWaiting(); }

/// What is to be known of a product by the weight of `linear`, but for the codes.
LinearToEmit OutputModel::State::Product(const Linear& linear, int node, ValueId bias) const {
  const Node& product = graph.nodes()[static_cast<size_t>(node)];
  LinearToEmit emit;
  emit.name = linear.name;
  emit.input = output.editor->InputOf(node, 0);
  emit.output = product.output(0);
  if (bias != kNoValue) emit.bias = output.editor->InputOf(node, 2);
  if (const auto own = own_biases.find(node); own != own_biases.end()) emit.bias = own->second;
  emit.node_name = product.proto().name();
  if (emit.node_name.empty()) emit.node_name = linear.name;
  emit.type = linear.operand_type;
  emit.q = nullptr;
  emit.accuracy_level = linear.decision.parameters.FirstLevel();
  return emit;
}

void OutputModel::State::Replace(int node, std::vector<onnx::NodeProto> nodes) {
  replaced.emplace_back(node, nodes);
  output.editor->Replace(node, std::move(nodes));
}

/// Replaces a product by the weight of `linear`. Equal codes are stored once.
void OutputModel::State::QuantizeProduct(const Linear& linear, const Factors& factors, int node,
                                         ValueId bias) {
  LinearToEmit emit = Product(linear, node, bias);
  const Node& product = graph.nodes()[static_cast<size_t>(node)];
  emit.name = TensorName(linear);
  emit.own_name = linear.name;
  emit.q = &factors.q;
  emit.activations = linear.decision.activations();
  // Levels that calibration could not find would cut everything off.
  if (emit.activations == Activations::kStatic && !factors.rounding.has_value()) {
    emit.activations = Activations::kFloat;
  }
  emit.rounding = factors.rounding.value_or(StaticRounding());
  emit.is_matrix = product.op_type() == "Gemm";
  emit.rounded = &rounded[graph.ScopeOf(node)];
  emit.attention = FindPackedAttention(graph, *output.editor, node);
  auto nodes = WriterOf(*linear.decision.form).Emit(emit, store);
  const bool whole = emit.attention && nodes.back().output(0) == emit.attention->packed->output(0);
  Replace(whole ? emit.attention->node : node, std::move(nodes));
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
    emit.linears.push_back(state.Product(linear, linear.node, linear.bias));
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
