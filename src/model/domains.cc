// One name and one version for each operator domain.
#include "domains.h"

#include <algorithm>
#include <string>

#include "ptq/model/graph_walk.h"

namespace ptq {
namespace {

using Nodes = google::protobuf::RepeatedPtrField<onnx::NodeProto>;
using Imports = google::protobuf::RepeatedPtrField<onnx::OperatorSetIdProto>;

bool HasOtherName(const std::string& domain) { return domain == "ai.onnx"; }

void RenameIn(Nodes& nodes, bool& uses_microsoft) {
  ForEachNode(nodes, [&](onnx::NodeProto& node) {
    if (HasOtherName(node.domain())) node.clear_domain();
    uses_microsoft = uses_microsoft || node.domain() == kMicrosoftDomain;
  });
}

void UnifyImports(Imports& imports, bool uses_microsoft) {
  Imports kept;
  for (auto& import : imports) {
    if (HasOtherName(import.domain())) import.clear_domain();
    const auto before = std::ranges::find(kept, import.domain(), &onnx::OperatorSetIdProto::domain);
    if (before == kept.end()) {
      *kept.Add() = std::move(import);
    } else {
      before->set_version(import.version());
    }
  }
  const bool has = std::ranges::any_of(
      kept, [](const auto& import) { return import.domain() == kMicrosoftDomain; });
  if (uses_microsoft && !has) {
    auto* import = kept.Add();
    import->set_domain(kMicrosoftDomain);
    import->set_version(1);
  }
  imports.Swap(&kept);
}

}  // namespace

void UnifyDomains(onnx::ModelProto& model) {
  bool uses_microsoft = false;
  RenameIn(*model.mutable_graph()->mutable_node(), uses_microsoft);
  for (auto& function : *model.mutable_functions()) {
    bool uses_in_function = false;
    RenameIn(*function.mutable_node(), uses_in_function);
    if (HasOtherName(function.domain())) function.clear_domain();
    UnifyImports(*function.mutable_opset_import(), uses_in_function);
  }
  UnifyImports(*model.mutable_opset_import(), uses_microsoft);
}

}  // namespace ptq
