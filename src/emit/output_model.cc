// Applies scales, biases and codes to a copy of the graph, and writes it with its data file.
#include "ptq/emit/output_model.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <unordered_set>
#include <utility>

#include "edit_record.h"
#include "folded_constants.h"
#include "format_nodes.h"
#include "graph_editor.h"
#include "half_storage.h"
#include "local_constants.h"
#include "tensor_store.h"
#include <spdlog/spdlog.h>

#include "ptq/base/error.h"
#include "ptq/base/half.h"
#include "ptq/emit/stored_codes.h"
#include "ptq/model/graph_names.h"

namespace ptq {
namespace {

/// Below this IR version every initializer is listed among the graph's inputs.
constexpr int64_t kIrWithFreeInitializers = 4;
constexpr size_t kCopyChunk = size_t{16} << 20;

void ReserveNames(const onnx::GraphProto& graph, TensorStore& store) {
  for (const std::string& name : NamesIn(graph)) store.Reserve(name);
}

/// Everything of a tensor but its elements.
onnx::TensorProto CopyHeader(const onnx::TensorProto& source) {
  onnx::TensorProto header;
  header.set_name(source.name());
  header.set_data_type(source.data_type());
  *header.mutable_dims() = source.dims();
  if (source.has_doc_string()) header.set_doc_string(source.doc_string());
  header.GetReflection()->MutableUnknownFields(&header)->MergeFrom(
      source.GetReflection()->GetUnknownFields(source));
  return header;
}

/// Gathered matrices that are turned need an Einsum.
void CheckStacks(const Plan& plan, int64_t opset) {
  constexpr int64_t kEinsumOpset = 12;
  for (const Linear& linear : plan.linears) {
    const bool turned = linear.gather >= 0 && !linear.operand_is_nk;
    if (opset >= kEinsumOpset || !turned || linear.decision != Decision::kQuantize) continue;
    throw UnsupportedError("'" + linear.name + "' picks from a stack of matrices, for which this " +
                           "model's opset " + std::to_string(opset) + " is too old; exclude it, " +
                           "or export the model with opset " + std::to_string(kEinsumOpset));
  }
}

/// What the nodes of a graph, and of those within it, read.
void AddNamesRead(const onnx::GraphProto& graph, std::unordered_set<std::string>& names) {
  for (const auto& node : graph.node()) {
    names.insert(node.input().begin(), node.input().end());
    for (const auto& attribute : node.attribute()) {
      if (attribute.has_g()) AddNamesRead(attribute.g(), names);
    }
  }
}

/// Forgets the types of values that a graph, or one within it, no longer has.
void DropStaleTypes(onnx::GraphProto& graph, const std::unordered_set<std::string>& needed) {
  std::unordered_set<std::string> defined(needed);
  for (auto& node : *graph.mutable_node()) {
    defined.insert(node.output().begin(), node.output().end());
    for (auto& attribute : *node.mutable_attribute()) {
      if (attribute.has_g()) DropStaleTypes(*attribute.mutable_g(), needed);
    }
  }
  auto& infos = *graph.mutable_value_info();
  for (int i = infos.size() - 1; i >= 0; --i) {
    if (!defined.contains(infos.Get(i).name())) infos.DeleteSubrange(i, 1);
  }
}

}  // namespace

struct OutputModel::State {
  State(const Graph& source, const Plan& the_plan, std::filesystem::path path,
        const EmitOptions& the_options)
      : graph(source),
        plan(the_plan),
        directory(std::move(path)),
        options(the_options),
        format(FindLinearFormat(the_options.format)),
        store(directory / the_options.files.data),
        model(source.model().CopyStructure()) {}

  /// What a node reads, element [.., c] divided by divisor[c], for a value that the graph computes
  /// from constants, by a Mul behind it.
  void DivideComputed(const Use& use, std::span<const float> divisor, DType dtype);
  /// A constant 1/scale in the graph's type.
  std::string AddInverse(const std::string& name, std::span<const float> scale, DType dtype);
  void DivideBias(const Site& site, std::span<const float> scale);
  [[nodiscard]] std::vector<float> BiasDivisor(const Site& site,
                                               std::span<const float> scale) const;
  void QuantizeProduct(const Linear& linear, const QuantizedMatrix& q, int node, ValueId bias);
  void QuantizeStack(const Linear& linear, const QuantizedMatrix& q);
  void InsertMul(const Site& site, std::span<const float> scale);
  void StoreFloatsAsHalf();
  void WriteInitializers(const std::unordered_set<std::string>& needed);
  void CopyInitializer(const onnx::TensorProto& source);
  void RewriteExternal(onnx::TensorProto& tensor);
  void RewriteNodeTensors(google::protobuf::RepeatedPtrField<onnx::NodeProto>& nodes);
  void DropStaleDeclarations(const std::unordered_set<std::string>& needed);
  void WriteModel();

  const Graph& graph;
  const Plan& plan;
  std::filesystem::path directory;
  EmitOptions options;
  const LinearFormat& format;
  TensorStore store;
  onnx::ModelProto model;
  std::unique_ptr<GraphEditor> editor;
  std::unique_ptr<HalfStorage> halves;
  std::vector<std::pair<int, std::vector<onnx::NodeProto>>> replaced;  ///< for TakeEdits
  std::unique_ptr<FoldedConstants> folded;
  std::map<int, std::string> own_biases;  ///< of nodes that had none
};

OutputModel::OutputModel(const Graph& graph, const Plan& plan, std::filesystem::path directory,
                         const EmitOptions& options)
    : state_(std::make_unique<State>(graph, plan, std::move(directory), options)) {
  State& state = *state_;
  std::vector<QuantSpec> specs;
  for (const Linear& linear : plan.linears) {
    if (linear.decision != Decision::kQuantize) continue;
    specs.push_back(AsStored(linear.spec));
    state.format.CheckSpec(specs.back());
    state.format.CheckLinear(linear);
  }
  if (!specs.empty()) state.format.PrepareModel(state.model, specs);
  CheckStacks(plan, OpsetOf(state.model, ""));
  std::error_code error;
  const auto folder = (state.directory / options.files.model).parent_path();
  std::filesystem::create_directories(folder, error);
  if (error) throw OutputError("cannot create '" + folder.string() + "'");
  ReserveNames(graph.proto(), state.store);
  ReserveNames(state.model.graph(), state.store);
  state.editor = std::make_unique<GraphEditor>(graph, *state.model.mutable_graph());
  state.folded = std::make_unique<FoldedConstants>(graph, *state.editor, state.store);
  state.halves = std::make_unique<HalfStorage>(graph, *state.editor, state.store);
}

OutputModel::~OutputModel() = default;

/// Per element of the bias: the scale of the channels that its row feeds.
std::vector<float> OutputModel::State::BiasDivisor(const Site& site,
                                                   std::span<const float> scale) const {
  const auto& fold = site.fold;
  const Linear& rows = plan.linears[static_cast<size_t>(fold.linear)];
  std::vector<float> divisor(static_cast<size_t>(rows.n), 0.0f);
  for (size_t channel = 0; channel < scale.size(); ++channel) {
    const auto row = static_cast<size_t>(
        fold.row_of_channel.empty() ? static_cast<int64_t>(channel) : fold.row_of_channel[channel]);
    if (divisor[row] != 0.0f && divisor[row] != scale[channel]) {
      throw InternalError("'" + rows.name + "': one row feeds channels of different scales");
    }
    divisor[row] = scale[channel];
  }
  // Rows that feed no channel of this site stay as they are.
  std::ranges::replace(divisor, 0.0f, 1.0f);
  return divisor;
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
  const std::string name = editor->InputOf(use.node, use.input);
  const std::string inverse = AddInverse(name, divisor, dtype);
  const std::string scaled = store.UniqueName(name + "_scaled");
  editor->InsertBehind(graph.inputs(use.node)[static_cast<size_t>(use.input)],
                       MakeNode("Mul", store.UniqueName(name + "/scale"), {name, inverse}, scaled));
  editor->SetInput(use.node, use.input, scaled);
}

void OutputModel::State::InsertMul(const Site& site, std::span<const float> scale) {
  const std::string& name = graph.value(site.value).name;
  const DType dtype = plan.linears[static_cast<size_t>(site.linears.front())].operand_type;
  const std::string constant = AddInverse(name, scale, dtype);
  const std::string scaled = store.UniqueName(name + "_scaled");
  editor->InsertBehind(
      site.value, MakeNode("Mul", store.UniqueName(name + "/scale"), {name, constant}, scaled));
  for (const int index : site.linears) {
    editor->SetInput(plan.linears[static_cast<size_t>(index)].node, 0, scaled);
  }
}

void OutputModel::State::DivideBias(const Site& site, std::span<const float> scale) {
  const Use& bias = site.fold.bias;
  if (bias.node < 0) return;
  const auto divisor = BiasDivisor(site, scale);
  if (graph.value(graph.inputs(bias.node)[static_cast<size_t>(bias.input)]).constant != nullptr) {
    folded->Divide(bias, divisor);
  } else {
    DivideComputed(bias, divisor, plan.linears[static_cast<size_t>(site.fold.linear)].operand_type);
  }
}

void OutputModel::ScaleSite(const Site& site, std::span<const float> scale) {
  switch (site.fold.kind) {
    case Fold::Kind::kMul: state_->InsertMul(site, scale); return;
    case Fold::Kind::kGain:
      for (const Use& use : site.fold.gains) state_->folded->Divide(use, scale);
      return;
    case Fold::Kind::kLinearRows: state_->DivideBias(site, scale); return;
  }
}

void OutputModel::AddBias(const Linear& linear, std::span<const float> bias) {
  State& state = *state_;
  if (linear.bias != kNoValue) return state.folded->Add({linear.node, 2}, bias);
  if (linear.bias_add.node >= 0) return state.folded->Add(linear.bias_add, bias);
  Tensor own(DType::kFloat32, {linear.n});
  std::ranges::copy(bias, own.mutable_data<float>().begin());
  const Tensor stored = own.Cast(linear.operand_type);
  state.own_biases[linear.node] = state.store.Add(linear.name + "_bias_correction",
                                                  linear.operand_type, own.shape(), stored.bytes());
}

int64_t OutputModel::Quantize(const Linear& linear, const QuantizedMatrix& q) {
  State& state = *state_;
  if (q.n != linear.n || q.k != linear.k) {
    throw InternalError("'" + linear.name + "': codes of another shape");
  }
  if (StoredBits(q.spec.bits) != q.spec.bits) return Quantize(linear, AsStored(q));
  const int64_t before = state.store.bytes_written();
  if (linear.gather >= 0) {
    state.QuantizeStack(linear, q);
    return state.store.bytes_written() - before;
  }
  state.QuantizeProduct(linear, q, linear.node, linear.bias);
  for (const ConstantProduct& product : linear.constant_products) {
    state.QuantizeProduct(linear, q, product.node, product.bias);
  }
  return state.store.bytes_written() - before;
}

/// Replaces a product by the weight of `linear`. Equal codes are stored once.
void OutputModel::State::QuantizeProduct(const Linear& linear, const QuantizedMatrix& q, int node,
                                         ValueId bias) {
  const Node& product = graph.nodes()[static_cast<size_t>(node)];
  LinearToEmit emit;
  emit.name = linear.name;
  emit.input = editor->InputOf(node, 0);
  emit.output = product.output(0);
  if (bias != kNoValue) emit.bias = editor->InputOf(node, 2);
  if (const auto own = own_biases.find(node); own != own_biases.end()) emit.bias = own->second;
  emit.node_name = product.proto().name();
  if (emit.node_name.empty()) emit.node_name = linear.name;
  emit.type = linear.operand_type;
  emit.q = &q;
  emit.accuracy_level = options.accuracy_level;
  std::vector<onnx::NodeProto> nodes = format.Emit(emit, store);
  replaced.emplace_back(node, nodes);
  editor->Replace(node, std::move(nodes));
}

void OutputModel::State::QuantizeStack(const Linear& linear, const QuantizedMatrix& q) {
  const onnx::NodeProto& gather = graph.nodes()[static_cast<size_t>(linear.gather)].proto();
  StackToEmit emit;
  emit.name = linear.name;
  emit.indices = editor->InputOf(linear.gather, 1);
  emit.output = gather.output(0);
  emit.node_name = gather.name().empty() ? linear.name + "/gather" : gather.name();
  emit.type = linear.operand_type;
  emit.q = &q;
  emit.experts = linear.experts;
  emit.swapped = !linear.operand_is_nk;
  std::vector<onnx::NodeProto> nodes = format.EmitStack(emit, store);
  replaced.emplace_back(linear.gather, nodes);
  editor->Replace(linear.gather, std::move(nodes));
}

int64_t OutputModel::StoreAsHalf(const Linear& linear) {
  const auto bytes = state_->halves->Store(linear.stored);
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
  for (auto& [node, heirs] : record.replaced) state_->editor->Replace(node, std::move(heirs));
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

void OutputModel::State::StoreFloatsAsHalf() {
  // Only what is still read: a weight that became codes needs no second form.
  const auto needed = editor->NeededNames();
  for (size_t i = 0; i < graph.values().size(); ++i) {
    const auto id = static_cast<ValueId>(i);
    const Value& value = graph.value(id);
    if (value.constant == nullptr || !needed.contains(value.name)) continue;
    const auto& dims = value.constant->dims();
    if (NumElements(Shape(dims.begin(), dims.end())) <= 1 || !halves->CanStore(id)) continue;
    (void)halves->Store(id);
  }
}

void OutputModel::State::CopyInitializer(const onnx::TensorProto& source) {
  const WeightReader& weights = graph.model().weights();
  const bool external = source.data_location() == onnx::TensorProto::EXTERNAL;
  const auto dtype = static_cast<DType>(source.data_type());
  if (!external && !source.has_raw_data() && BitsOf(dtype) == 0) {
    *model.mutable_graph()->add_initializer() = source;  // strings; types that we do not know
    return;
  }
  onnx::TensorProto& copy = *model.mutable_graph()->add_initializer();
  copy = CopyHeader(source);
  Tensor typed;  // keeps elements of the typed fields (float_data …) alive
  WeightReader::StoredBytes stored;
  if (external || source.has_raw_data()) {
    stored = weights.ReadBytes(source);
  } else {
    typed = weights.Read(source);
    stored.bytes = typed.bytes();
  }
  store.Store(
      copy, static_cast<int64_t>(stored.bytes.size()), [&](const TensorStore::Write& write) {
        for (size_t begin = 0; begin < stored.bytes.size(); begin += kCopyChunk) {
          write(stored.bytes.subspan(begin, std::min(kCopyChunk, stored.bytes.size() - begin)));
          weights.Drop(source);
        }
      });
}

void OutputModel::State::RewriteExternal(onnx::TensorProto& tensor) {
  if (tensor.data_location() != onnx::TensorProto::EXTERNAL) return;
  const WeightReader& weights = graph.model().weights();
  const auto stored = weights.ReadBytes(tensor);
  onnx::TensorProto copy = CopyHeader(tensor);
  store.Store(copy, static_cast<int64_t>(stored.bytes.size()),
              [&](const TensorStore::Write& write) { write(stored.bytes); });
  weights.Drop(tensor);
  tensor = std::move(copy);
}

/// Constant nodes and subgraphs may refer to data files that the destination does not have.
void OutputModel::State::RewriteNodeTensors(
    google::protobuf::RepeatedPtrField<onnx::NodeProto>& nodes) {
  for (auto& node : nodes) {
    for (auto& attribute : *node.mutable_attribute()) {
      if (attribute.has_t()) RewriteExternal(*attribute.mutable_t());
      for (auto& tensor : *attribute.mutable_tensors()) RewriteExternal(tensor);
      if (!attribute.has_g()) continue;
      for (auto& tensor : *attribute.mutable_g()->mutable_initializer()) RewriteExternal(tensor);
      RewriteNodeTensors(*attribute.mutable_g()->mutable_node());
    }
  }
}

void OutputModel::State::WriteInitializers(const std::unordered_set<std::string>& needed) {
  onnx::GraphProto& target = *model.mutable_graph();
  google::protobuf::RepeatedPtrField<onnx::TensorProto> prepared;  // the format's own constants
  prepared.Swap(target.mutable_initializer());
  for (const auto& tensor : graph.proto().initializer()) {
    if (needed.contains(tensor.name()) && !halves->Stored(tensor.name())) CopyInitializer(tensor);
  }
  for (auto& tensor : prepared) {
    if (needed.contains(tensor.name())) *target.add_initializer() = std::move(tensor);
  }
  for (auto& tensor : store.initializers()) {
    if (needed.contains(tensor.name())) *target.add_initializer() = std::move(tensor);
  }
}

/// Initializers that are listed as inputs leave that list when they vanish; types of values that no
/// longer exist are forgotten.
void OutputModel::State::DropStaleDeclarations(const std::unordered_set<std::string>& needed) {
  onnx::GraphProto& target = *model.mutable_graph();
  std::unordered_set<std::string> kept;
  for (const auto& tensor : target.initializer()) kept.insert(tensor.name());
  const bool list_initializers = graph.model().proto().ir_version() >= kIrWithFreeInitializers;
  auto& inputs = *target.mutable_input();
  for (int i = inputs.size() - 1; i >= 0; --i) {
    const ValueId id = graph.Find(inputs.Get(i).name());
    if (id != kNoValue && graph.value(id).graph_input) continue;
    if (!list_initializers || !kept.contains(inputs.Get(i).name())) inputs.DeleteSubrange(i, 1);
  }
  if (model.ir_version() < kIrWithFreeInitializers) model.set_ir_version(kIrWithFreeInitializers);
  DropStaleTypes(target, needed);
}

void OutputModel::State::WriteModel() {
  const auto path = directory / options.files.model;
  std::string bytes;
  if (model.ByteSizeLong() > static_cast<size_t>(std::numeric_limits<int>::max()) ||
      !model.SerializeToString(&bytes)) {
    throw UnsupportedError("'" + path.string() +
                           "' would be larger than 2 GiB without its weights: constants inside "
                           "nodes are too large; save them as initializers");
  }
  WriteFile(path, bytes);
}

void OutputModel::Finish() {
  State& state = *state_;
  if (state.options.half_floats) state.StoreFloatsAsHalf();
  state.editor->RestoreUntouched(state.graph.model().spelled_out());
  auto needed = state.editor->NeededNames();
  state.editor->Commit();
  state.RewriteNodeTensors(*state.model.mutable_graph()->mutable_node());
  if (state.graph.scopes().size() > 1) {
    LocalizeConstants(*state.model.mutable_graph(), state.store);
    for (const auto& tensor : state.store.initializers()) needed.erase(tensor.name());
    AddNamesRead(state.model.graph(), needed);
  }
  state.WriteInitializers(needed);
  state.DropStaleDeclarations(needed);
  state.store.Close();
  state.WriteModel();
}

}  // namespace ptq
