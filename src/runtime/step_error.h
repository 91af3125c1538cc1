// Says which node an error comes from.
#pragma once

#include "ptq/base/error.h"
#include "ptq/model/node.h"

namespace ptq {

/// Adds the node to an error that a kernel raised without knowing where it runs. `Refusal`: what an
/// InputError becomes. Constants that do not fit are the file's fault, activations the sample's.
template <class Refusal, class Body>
void WithNode(const Node& node, const Body& body) {
  const auto where = [&] { return "node '" + node.name() + "' (" + node.op_type() + "): "; };
  try {
    body();
  } catch (const InputError& error) {
    throw Refusal(where() + error.what());
  } catch (const UnsupportedError& error) {
    throw UnsupportedError(where() + error.what());
  }
}

}  // namespace ptq
