// Fills a Graph: sorts the nodes of each scope and lays them out as one list.
#pragma once

#include "ptq/model/graph.h"

namespace ptq {

/// `graph` is empty. Throws InputError for cycles, values nobody produces, duplicate names.
void FlattenGraph(const Model& model, Graph& graph);

}  // namespace ptq
