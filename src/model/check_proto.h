// Refuses files whose parts do not fit together, before anybody relies on them.
#pragma once

#include <onnx/onnx_pb.h>

namespace ptq {

/// Of the graph and those within it:
///  * every node of an operator with a known schema (operator_schemas.h) has the inputs that its
///    schema asks for, of which optional ones (and any of com.microsoft) may be absent, and an
///    output; ONNX Runtime refuses others, too;
///  * the dimensions of every tensor, and those that are fixed of declared values, have a product
///    that is a number of elements.
/// Who reads them need not look again. Throws InputError naming the node, tensor or value.
void CheckProto(const onnx::ModelProto& model);

}  // namespace ptq
