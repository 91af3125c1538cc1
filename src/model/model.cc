// Loads a model file: unifies domains and scopes, inlines functions, spells out hidden linears.
#include "ptq/model/model.h"

#include <limits>
#include <optional>
#include <set>

#include "check_proto.h"
#include "detach_weights.h"
#include "domains.h"
#include "foreign_model.h"
#include "forms/linear_forms.h"
#include "function_inliner.h"
#include "requantize/dequantize.h"
#include "scopes.h"
#include <spdlog/spdlog.h>

#include "ptq/base/confined_path.h"
#include "ptq/base/error.h"
#include "ptq/base/links.h"
#include "ptq/model/graph_walk.h"
#include "ptq/model/model_forms.h"
#include "ptq/model/node_builder.h"

namespace ptq {
namespace {

/// A snapshot of a cache holds links to the blobs of its own repository; others are no model of it.
void CheckModelLink(const std::filesystem::path& path) {
  const auto cached = FindCachedRepository(path);
  if (!cached || Contains(cached->blobs, path) || Contains(cached->snapshot, path)) return;
  throw InputError("'" + path.string() + "' is a link that leads out of the cached repository '" +
                   cached->id + "'; refused");
}

onnx::ModelProto Parse(const std::filesystem::path& path) {
  const auto file = MappedFile::Open(path);
  const auto bytes = file->bytes();
  if (const std::string why = WhyForeign(path, bytes); !why.empty()) throw InputError(why);
  if (bytes.size() > static_cast<size_t>(std::numeric_limits<int>::max())) {
    throw InputError("'" + path.string() +
                     "' is larger than 2 GiB, the limit of a protobuf file; save it with external "
                     "data");
  }
  std::optional<onnx::ModelProto> proto = ParseDetached(bytes, path.filename().string());
  if (!proto.has_value() || !proto->has_graph() || proto->ir_version() == 0) {
    throw InputError(WhyUnreadable(path, bytes));
  }
  return std::move(*proto);
}

void CollectTensors(const onnx::GraphProto& main, const auto& visit) {
  ForEachGraph(main, [&](const onnx::GraphProto& graph) {
    for (const auto& tensor : graph.initializer()) visit(tensor);
    for (const auto& node : graph.node()) {
      for (const auto& attribute : node.attribute()) {
        if (attribute.has_t()) visit(attribute.t());
        for (const auto& tensor : attribute.tensors()) visit(tensor);
      }
    }
  });
}

/// Calls `visit` with each tensor in a file, and that file's name.
void CollectExternal(const onnx::GraphProto& graph, const auto& visit) {
  CollectTensors(graph, [&](const onnx::TensorProto& tensor) {
    if (tensor.data_location() != onnx::TensorProto::EXTERNAL) return;
    for (const auto& entry : tensor.external_data()) {
      if (entry.key() == "location" && !entry.value().empty()) visit(tensor, entry.value());
    }
  });
}

}  // namespace

Model Model::Read(const std::filesystem::path& path) {
  Model model;
  ModelChoice choice = ChooseModel(path);
  model.path_ = std::move(choice.files.front());
  model.other_forms_ = std::move(choice.left_out);
  if (!model.other_forms_.empty()) {
    spdlog::info("'" + model.path_.filename().string() +
                 "' is taken; other forms of it are left out: " + NamesOf(model.other_forms_));
  }
  CheckModelLink(model.path_);
  model.proto_ = std::make_unique<onnx::ModelProto>(Parse(model.path_));
  model.weights_ = std::make_unique<WeightReader>(model.path_);
  return model;
}

void Model::CheckDataFiles() const {
  std::set<std::string> seen;
  CollectExternal(graph(), [&](const onnx::TensorProto& tensor, const std::string& name) {
    if (name == path_.filename() || !seen.insert(name).second) return;
    (void)weights_->DataFile(name, "tensor '" + tensor.name() + "': external data");
  });
}

Model Model::Load(const std::filesystem::path& path, bool dequantize, bool float_activations) {
  Model model = Read(path);
  model.Normalize(dequantize, float_activations);
  model.CheckDataFiles();
  return model;
}

Model Model::LoadUnchanged(const std::filesystem::path& path) {
  Model model = Read(path);
  UnifyDomains(*model.proto_);
  CheckProto(*model.proto_);
  model.CheckDataFiles();
  return model;
}

Model Model::FromProto(onnx::ModelProto proto, bool dequantize) {
  Model model;
  model.proto_ = std::make_unique<onnx::ModelProto>(std::move(proto));
  model.weights_ = std::make_unique<WeightReader>(std::filesystem::path());
  model.Normalize(dequantize);
  return model;
}

/// So that MatMulNBits rounds no activations.
static void IgnoreAccuracyLevels(onnx::ModelProto& model) {
  ForEachNode(*model.mutable_graph()->mutable_node(), [](onnx::NodeProto& node) {
    if (node.op_type() != "MatMulNBits") return;
    for (onnx::AttributeProto& attribute : *node.mutable_attribute()) {
      if (attribute.name() == "accuracy_level") attribute.set_i(0);
    }
  });
}

void Model::Normalize(bool dequantize, bool float_activations) {
  UnifyDomains(*proto_);
  InlineFunctions(*proto_);
  CheckProto(*proto_);
  UnifyScopes(*proto_);
  if (float_activations) IgnoreAccuracyLevels(*proto_);
  if (dequantize) weights_->quantized_ = DequantizeWeights(*proto_, *weights_, float_activations);
  spelled_out_ = SpellOutLinears(Graph(*this), *proto_->mutable_graph());
}

int64_t Model::Opset(const std::string& domain) const { return OpsetOf(*proto_, domain); }

QuantizedWeights Model::FindQuantizedWeights() const { return ptq::FindQuantizedWeights(*proto_); }

onnx::ModelProto Model::CopyStructure() const {
  google::protobuf::RepeatedPtrField<onnx::TensorProto> initializers;
  // Taken out for the moment of the copy only, and put back whatever happens.
  struct Restore {
    onnx::GraphProto& graph;
    google::protobuf::RepeatedPtrField<onnx::TensorProto>& taken;
    ~Restore() { graph.mutable_initializer()->Swap(&taken); }
  };
  onnx::GraphProto& graph = *proto_->mutable_graph();
  graph.mutable_initializer()->Swap(&initializers);
  const Restore restore{graph, initializers};
  return *proto_;
}

std::vector<std::string> Model::ExternalFiles() const {
  std::set<std::string> names;
  CollectExternal(graph(), [&](const onnx::TensorProto&, const std::string& name) {
    names.insert(ConfinedName(name, "external data").generic_string());
  });
  names.erase(path_.filename().string());  // weights of the model file itself
  return {names.begin(), names.end()};
}

}  // namespace ptq
