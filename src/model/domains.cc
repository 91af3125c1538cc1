// One name and one version for each operator domain.
#include "domains.h"

#include <algorithm>
#include <string>

namespace ptq {
namespace {

constexpr char kMicrosoft[] = "com.microsoft";

using Nodes = google::protobuf::RepeatedPtrField<onnx::NodeProto>;
using Imports = google::protobuf::RepeatedPtrField<onnx::OperatorSetIdProto>;

bool HasOtherName(const std::string& domain) { return domain == "ai.onnx"; }

void RenameIn(Nodes& nodes, bool& uses_microsoft) {
  for (auto& node : nodes) {
    if (HasOtherName(node.domain())) node.clear_domain();
    uses_microsoft = uses_microsoft || node.domain() == kMicrosoft;
    for (auto& attribute : *node.mutable_attribute()) {
      if (attribute.has_g()) RenameIn(*attribute.mutable_g()->mutable_node(), uses_microsoft);
      for (auto& graph : *attribute.mutable_graphs()) {
        RenameIn(*graph.mutable_node(), uses_microsoft);
      }
    }
  }
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
  const bool has =
      std::ranges::any_of(kept, [](const auto& import) { return import.domain() == kMicrosoft; });
  if (uses_microsoft && !has) {
    auto* import = kept.Add();
    import->set_domain(kMicrosoft);
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
