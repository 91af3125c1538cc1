// Makes names from parameters, exporters' scopes or nodes' paths, and matches patterns with them.
#include "ptq/plan/names.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <variant>

#include "glob_pattern.h"

#include "ptq/base/error.h"
#include "ptq/text/screen.h"

namespace ptq {
namespace {

bool AllDigits(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return std::isdigit(static_cast<unsigned char>(c));
  });
}

/// Exporters' own names for folded or anonymous constants, which say nothing.
bool IsAnonymous(const std::string& name) {
  static constexpr std::array<std::string_view, 8> kPrefixes = {
      "onnx::", "val_", "/", "_val", "t_", "transpose", "Constant", "const_"};
  return AllDigits(name) || std::ranges::any_of(kPrefixes, [&](std::string_view prefix) {
           return name.starts_with(prefix);
         });
}

void DropSuffix(std::string& name, std::string_view suffix) {
  if (name.size() > suffix.size() && name.ends_with(suffix))
    name.resize(name.size() - suffix.size());
}

/// "transformer.h.0.attn.c_attn.weight" without what only says that it is a weight.
std::string FromParameter(std::string name) {
  DropSuffix(name, "_merged_0");
  for (const auto suffix : {"_transposed", "_quantized", ".weight", ".MatMul", "_weight"}) {
    DropSuffix(name, suffix);
  }
  return name;
}

/// "/model/layers.0/self_attn/q_proj/MatMul_1" as model.layers.0.self_attn.q_proj.
std::string FromNodePath(const Node& node) {
  std::string path = node.proto().name();
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos || slash == 0) return "";
  const std::string last = path.substr(slash + 1);
  if (!last.starts_with(node.op_type()) && !last.starts_with("MatMul") &&
      !last.starts_with("Gemm")) {
    return "";
  }
  path.resize(slash);
  if (path.front() == '/') path.erase(0, 1);
  std::ranges::replace(path, '/', '.');
  return path;
}

/// The dynamo exporter notes the module path: "['', 'model', 'model.layers.0', …, 'linear_3']".
std::string FromExporterScopes(const Node& node) {
  const std::string text = node.Metadata("pkg.torch.onnx.name_scopes");
  std::vector<std::string> scopes;
  for (size_t at = text.find('\''); at != std::string::npos; at = text.find('\'', at + 1)) {
    const size_t close = text.find('\'', at + 1);
    if (close == std::string::npos) break;
    scopes.push_back(text.substr(at + 1, close - at - 1));
    at = close;
  }
  // The last scope is the operator itself, the one before it the module.
  return scopes.size() < 2 ? "" : scopes[scopes.size() - 2];
}

}  // namespace

std::string LinearName(const Graph& graph, int node, ValueId stored) {
  const Node& view = graph.nodes()[size_t(node)];
  const std::string& constant = graph.value(stored).name;
  std::string parameter = FromParameter(constant);
  const bool named = !IsAnonymous(constant) && parameter.find('.') != std::string::npos;
  if (named && graph.value(stored).producer < 0) return parameter;
  for (const std::string& name : {FromExporterScopes(view), FromNodePath(view)}) {
    if (!name.empty()) return name;
  }
  return IsAnonymous(constant) ? view.name() : parameter;
}

struct NamePattern::Compiled {
  std::variant<Glob, TextPattern> pattern;
};

NamePattern::NamePattern(std::string text) : text_(std::move(text)) {
  const bool regex = text_.size() > 2 && text_.front() == '/' && text_.back() == '/';
  compiled_ = std::make_shared<const Compiled>(
      regex ? Compiled{TextPattern(text_.substr(1, text_.size() - 2), text_)}
            : Compiled{Glob(text_)});
}

bool NamePattern::Matches(const std::string& name) const {
  return std::visit([&](const auto& pattern) { return pattern.Matches(name); }, compiled_->pattern);
}

}  // namespace ptq
