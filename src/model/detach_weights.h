// Parses a model whose weights stay in the file.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include <onnx/onnx_pb.h>

namespace ptq {

/// The ModelProto in `file`, but with the raw_data of every large initializer, of the main graph
/// or a subgraph, turned into external data at its place in this same file, under the location
/// `name`. A weight then costs memory only while its pages are read. Nothing when the bytes are no
/// ModelProto. Source: the protobuf wire format and onnx.proto's field numbers.
[[nodiscard]] std::optional<onnx::ModelProto> ParseDetached(std::span<const std::byte> file,
                                                            const std::string& name);

}  // namespace ptq
