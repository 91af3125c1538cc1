// Copies the initializers that are still needed, drops declarations of what is gone, writes the
// file.
#include "model_writer.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/model/graph_walk.h"
#include "ptq/transform/half_elements.h"

namespace ptq {
namespace {

/// Below this IR version every initializer is listed among the graph's inputs.
constexpr int64_t kIrWithFreeInitializers = 4;
constexpr size_t kCopyChunk = size_t{4} << 20;

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

/// What the nodes of a graph, and of those within it, read, and what these graphs give out.
std::unordered_set<std::string> NamesNeeded(const onnx::GraphProto& main) {
  std::unordered_set<std::string> names;
  ForEachGraph(main, [&](const onnx::GraphProto& graph) {
    for (const auto& node : graph.node()) names.insert(node.input().begin(), node.input().end());
    for (const auto& output : graph.output()) names.insert(output.name());
  });
  return names;
}

/// Forgets the types of values that a graph, or one within it, no longer has.
void DropStaleTypes(onnx::GraphProto& main, const std::unordered_set<std::string>& needed) {
  ForEachGraph(main, [&](onnx::GraphProto& graph) {
    std::unordered_set<std::string> given;
    for (const auto& node : graph.node()) {
      given.insert(node.output().begin(), node.output().end());
    }
    auto& infos = *graph.mutable_value_info();
    for (int i = infos.size() - 1; i >= 0; --i) {
      const std::string& name = infos.Get(i).name();
      if (!needed.contains(name) && !given.contains(name)) infos.DeleteSubrange(i, 1);
    }
  });
}

}  // namespace

void ModelWriter::TakeNodeTensors() { TakeTensors(*output_.model.mutable_graph()->mutable_node()); }

void ModelWriter::CopyInitializer(const onnx::TensorProto& source) {
  const WeightReader& weights = source_.model().weights();
  const bool external = source.data_location() == onnx::TensorProto::EXTERNAL;
  const auto dtype = static_cast<DType>(source.data_type());
  if (!external && !source.has_raw_data() && BitsOf(dtype) == 0) {
    // Strings; types that we do not know.
    *output_.model.mutable_graph()->add_initializer() = source;
    return;
  }
  onnx::TensorProto& copy = *output_.model.mutable_graph()->add_initializer();
  copy = CopyHeader(source);
  Tensor typed;  // keeps elements of the typed fields (float_data …) alive
  WeightReader::StoredBytes stored;
  if (external || source.has_raw_data()) {
    stored = weights.ReadBytes(source);
  } else {
    typed = weights.Read(source);
    stored.bytes = typed.bytes();
  }
  output_.store.Store(
      copy, static_cast<int64_t>(stored.bytes.size()), [&](const TensorStore::Write& write) {
        for (size_t begin = 0; begin < stored.bytes.size(); begin += kCopyChunk) {
          write(stored.bytes.subspan(begin, std::min(kCopyChunk, stored.bytes.size() - begin)));
          weights.Drop(source);
        }
      });
}

/// Finite elements beyond the range of FP16 come down to its end: what may be so large is a mask.
void ModelWriter::CopyAsHalf(const onnx::TensorProto& source) {
  const WeightReader& weights = source_.model().weights();
  onnx::TensorProto& copy = *output_.model.mutable_graph()->add_initializer();
  copy = CopyHeader(source);
  copy.set_data_type(onnx::TensorProto::FLOAT16);
  const Tensor values = weights.Read(source);
  output_.store.Store(copy, BytesOf(DType::kFloat16, values.size()),
                      [&](const TensorStore::Write& write) {
                        ForEachHalfChunk(values, [&](std::span<const Half> chunk) {
                          write(std::as_bytes(chunk));
                          weights.Drop(source);
                        });
                      });
}

void ModelWriter::RewriteExternal(onnx::TensorProto& tensor) {
  if (tensor.data_location() != onnx::TensorProto::EXTERNAL) return;
  const WeightReader& weights = source_.model().weights();
  const auto stored = weights.ReadBytes(tensor);
  onnx::TensorProto copy = CopyHeader(tensor);
  output_.store.Store(copy, static_cast<int64_t>(stored.bytes.size()),
                      [&](const TensorStore::Write& write) { write(stored.bytes); });
  weights.Drop(tensor);
  tensor = std::move(copy);
}

/// Constant nodes and subgraphs may refer to data files that the destination does not have.
void ModelWriter::TakeTensors(google::protobuf::RepeatedPtrField<onnx::NodeProto>& nodes) {
  for (auto& node : nodes) {
    for (auto& attribute : *node.mutable_attribute()) {
      if (attribute.has_t()) RewriteExternal(*attribute.mutable_t());
      for (auto& tensor : *attribute.mutable_tensors()) RewriteExternal(tensor);
    }
    ForEachSubgraph(node, [&](onnx::GraphProto& graph) {
      for (auto& tensor : *graph.mutable_initializer()) RewriteExternal(tensor);
      TakeTensors(*graph.mutable_node());
    });
  }
}

void ModelWriter::WriteInitializers(const std::unordered_set<std::string>& needed) {
  onnx::GraphProto& target = *output_.model.mutable_graph();
  google::protobuf::RepeatedPtrField<onnx::TensorProto> prepared;  // the format's own constants
  prepared.Swap(target.mutable_initializer());
  for (const auto& tensor : source_.proto().initializer()) {
    if (!needed.contains(tensor.name()) || halves_.Stored(tensor.name())) continue;
    if (output_.halved.contains(tensor.name())) {
      CopyAsHalf(tensor);
    } else {
      CopyInitializer(tensor);
    }
  }
  for (auto& tensor : prepared) {
    if (needed.contains(tensor.name())) *target.add_initializer() = std::move(tensor);
  }
  for (auto& tensor : output_.store.initializers()) {
    if (needed.contains(tensor.name())) *target.add_initializer() = std::move(tensor);
  }
}

/// Initializers that are listed as inputs leave that list when they vanish, and when they became
/// FP16: nobody could give another value for them as before, and ONNX Runtime 1.23 crashes when it
/// widens one that is on the list. Types of values that no longer exist are forgotten.
void ModelWriter::DropStaleDeclarations(const std::unordered_set<std::string>& needed) {
  onnx::GraphProto& target = *output_.model.mutable_graph();
  std::unordered_set<std::string> kept;
  for (const auto& tensor : target.initializer()) {
    if (!output_.halved.contains(tensor.name())) kept.insert(tensor.name());
  }
  const bool list_initializers = source_.model().proto().ir_version() >= kIrWithFreeInitializers;
  auto& inputs = *target.mutable_input();
  for (int i = inputs.size() - 1; i >= 0; --i) {
    const ValueId id = source_.Find(inputs.Get(i).name());
    if (id != kNoValue && source_.value(id).graph_input) continue;
    if (!list_initializers || !kept.contains(inputs.Get(i).name())) inputs.DeleteSubrange(i, 1);
  }
  if (output_.model.ir_version() < kIrWithFreeInitializers) {
    output_.model.set_ir_version(kIrWithFreeInitializers);
  }
  DropStaleTypes(target, needed);
}

void ModelWriter::CheckSize() const {
  if (output_.model.ByteSizeLong() <= static_cast<size_t>(std::numeric_limits<int>::max())) return;
  throw UnsupportedError("'" + source_.model().path().string() +
                         "' would be larger than 2 GiB without its weights: constants inside "
                         "nodes are too large; save them as initializers");
}

void ModelWriter::PutTogether() {
  const std::unordered_set<std::string> needed = NamesNeeded(output_.model.graph());
  WriteInitializers(needed);
  DropStaleDeclarations(needed);
  CheckSize();
}

int64_t ModelWriter::Measure() {
  PutTogether();
  return int64_t(output_.model.ByteSizeLong());
}

void ModelWriter::Write(const std::filesystem::path& path) {
  PutTogether();
  output_.store.Close();
  std::string bytes;
  if (!output_.model.SerializeToString(&bytes)) {
    throw InternalError("'" + path.string() + "' cannot be serialized");
  }
  WriteFile(path, bytes);
}

}  // namespace ptq
