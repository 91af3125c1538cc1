// Lists the forms by operator, and replaces each node that has one by the plain nodes it gets.
#include "linear_forms.h"

#include <algorithm>
#include <map>

#include "domains.h"

#include "ptq/model/graph_walk.h"

namespace ptq {
namespace {

/// The single list of forms; a new one is a function and a line.
const std::multimap<std::pair<std::string, std::string>, LinearForm>& Forms() {
  static const std::multimap<std::pair<std::string, std::string>, LinearForm> forms = {
      {{"", "Gemm"}, SpellOutGemm},
      {{kMicrosoftDomain, "FusedGemm"}, SpellOutFusedGemm},
      {{"", "MatMul"}, SpellOutMatMul},
      {{kMicrosoftDomain, "FusedMatMul"}, SpellOutFusedMatMul},
      {{"", "Conv"}, SpellOutConv},
      {{"", "Einsum"}, SpellOutEinsum},
      {{kMicrosoftDomain, "Attention"}, SpellOutPackedAttention},
      {{kMicrosoftDomain, "MoE"}, SpellOutMoe}};
  return forms;
}

/// The exporter's notes say which module a layer belongs to. They are in a field that older
/// generated code does not know.
void CopyNotes(const onnx::NodeProto& from, onnx::NodeProto& to) {
  to.set_doc_string(from.doc_string());
  to.GetReflection()->MutableUnknownFields(&to)->MergeFrom(
      from.GetReflection()->GetUnknownFields(from));
}

/// The plain nodes of one node; none when it has no such form.
std::vector<onnx::NodeProto> PlainNodes(const Graph& graph, int index) {
  const Node& node = graph.nodes()[size_t(index)];
  const auto [begin, end] = Forms().equal_range({node.domain(), node.op_type()});
  for (auto form = begin; form != end; ++form) {
    FormWriter writer(graph, index);
    if (form->second(writer)) return writer.Take();
  }
  return {};
}

}  // namespace

ValueId FormWriter::input(size_t i) const {
  const auto& inputs = graph_.inputs(index_);
  return i < inputs.size() ? inputs[i] : kNoValue;
}

std::string FormWriter::InputName(size_t i) const {
  return input(i) == kNoValue ? "" : graph_.value(input(i)).name;
}

std::optional<ConstantView> FormWriter::View(size_t i) const {
  if (input(i) == kNoValue) return std::nullopt;
  auto view = ViewConstant(graph_, input(i));
  return view.has_value() && IsFloat(view->dtype) ? view : std::nullopt;
}

std::string FormWriter::Fresh() {
  const std::string base = node().output(0) + "/plain_";
  std::string name;
  do {
    name = base + std::to_string(++count_);
  } while (graph_.Find(name) != kNoValue);
  return name;
}

std::string FormWriter::Add(const std::string& type, const std::vector<std::string>& inputs,
                            const std::string& output) {
  const std::string fresh = Fresh();
  nodes_.push_back(MakeNode(type, fresh, inputs, output.empty() ? fresh : output));
  return last().output(0);
}

std::string FormWriter::Integers(const Shape& shape, const std::vector<int64_t>& values) {
  std::string name = Add("Constant", {});
  onnx::TensorProto tensor;
  tensor.set_data_type(onnx::TensorProto::INT64);
  for (const int64_t dim : shape) tensor.add_dims(dim);
  for (const int64_t value : values) tensor.add_int64_data(value);
  SetTensor(last(), "value", std::move(tensor));
  return name;
}

std::string FormWriter::Scalar(float value, DType dtype) {
  std::string name = Add("Constant", {});
  onnx::TensorProto tensor;
  Tensor scalar(DType::kFloat32, {});
  scalar.mutable_data<float>()[0] = value;
  const Tensor stored = scalar.Cast(dtype);
  tensor.set_data_type(int32_t(dtype));
  tensor.set_raw_data(stored.bytes().data(), stored.bytes().size());
  SetTensor(last(), "value", std::move(tensor));
  return name;
}

std::string FormWriter::Transpose(const std::string& value, const std::vector<int64_t>& order,
                                  const std::string& output) {
  std::string name = Add("Transpose", {value}, output);
  SetInts(last(), "perm", order);
  return name;
}

std::string FormWriter::SwapLast(const std::string& value, const std::string& output) {
  std::string name = Add("Einsum", {value}, output);
  SetString(last(), "equation", kSwapLastTwo);
  return name;
}

std::string FormWriter::Reshape(const std::string& value, const std::vector<int64_t>& shape,
                                const std::string& output) {
  const std::string target = Integers({int64_t(shape.size())}, shape);
  return Add("Reshape", {value, target}, output);
}

namespace {

using PlainForms = std::map<const onnx::NodeProto*, std::vector<onnx::NodeProto>>;

/// In a graph and those within it.
void ReplaceNodes(onnx::GraphProto& proto, PlainForms& plain, std::vector<SpelledOut>& all) {
  google::protobuf::RepeatedPtrField<onnx::NodeProto> before;
  before.Swap(proto.mutable_node());
  for (onnx::NodeProto& node : before) {
    const auto found = plain.find(&node);
    if (found == plain.end()) {
      ForEachSubgraph(node, [&](onnx::GraphProto& inner) { ReplaceNodes(inner, plain, all); });
      *proto.add_node() = std::move(node);
      continue;
    }
    SpelledOut spelled{std::move(node), {}};
    for (onnx::NodeProto& part : found->second) {
      spelled.outputs.push_back(part.output(0));
      if (part.name().starts_with(spelled.original.name())) CopyNotes(spelled.original, part);
      *proto.add_node() = std::move(part);
    }
    all.push_back(std::move(spelled));
  }
}

}  // namespace

std::vector<SpelledOut> SpellOutLinears(const Graph& graph, onnx::GraphProto& proto) {
  PlainForms plain;
  for (size_t i = 0; i < graph.nodes().size(); ++i) {
    auto nodes = PlainNodes(graph, int(i));
    if (!nodes.empty()) plain[&graph.nodes()[i].proto()] = std::move(nodes);
  }
  std::vector<SpelledOut> all;
  if (!plain.empty()) ReplaceNodes(proto, plain, all);
  return all;
}

}  // namespace ptq
