// Names that people know, recovered from initializers, nodes and exporters' notes; and their
// patterns.
#pragma once

#include <memory>
#include <string>

#include "ptq/model/graph.h"

namespace ptq {

/// `model.layers.0.self_attn.q_proj` for the linear at `node` with the constant `stored`: from the
/// initializer when it carries a parameter's name, else from the module path in the node's name or
/// in the dynamo exporter's metadata, else the node's own name.
[[nodiscard]] std::string LinearName(const Graph& graph, int node, ValueId stored);

/// A glob (`*`, `?`, `[abc]`) over whole names, or `/regex/` (TextPattern) searched in them, in
/// time linear in the name. Compiled once.
class NamePattern {
 public:
  /// Throws UsageError for a malformed regular expression, and for any without the text library.
  explicit NamePattern(std::string text);
  [[nodiscard]] bool Matches(const std::string& name) const;
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  struct Compiled;
  std::string text_;
  std::shared_ptr<const Compiled> compiled_;
};

}  // namespace ptq
