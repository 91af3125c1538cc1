#include "detach_weights.h"

#include <limits>

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/wire_format_lite.h>

namespace ptq {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::ArrayInputStream;
using google::protobuf::io::CodedInputStream;
using google::protobuf::io::CodedOutputStream;
using google::protobuf::io::StringOutputStream;

/// Smaller data stays in the message.
constexpr uint32_t kSmallestDetached = 4096;

/// One field of a message: its bytes with the tag, and of a length-delimited one what is inside.
struct Field {
  int number = 0;
  std::span<const std::byte> whole;
  std::optional<std::span<const std::byte>> inside;
};

/// Calls `visit` for each field in order; false when the bytes are malformed.
template <class Visitor>
bool ForEachField(std::span<const std::byte> message, const Visitor& visit) {
  if (message.size() > size_t(std::numeric_limits<int>::max())) return false;
  ArrayInputStream stream(message.data(), int(message.size()));
  CodedInputStream in(&stream);
  in.SetTotalBytesLimit(std::numeric_limits<int>::max());
  while (true) {
    const int begin = in.CurrentPosition();
    const uint32_t tag = in.ReadTag();
    if (tag == 0) return size_t(begin) == message.size();
    Field field;
    field.number = WireFormatLite::GetTagFieldNumber(tag);
    if (WireFormatLite::GetTagWireType(tag) == WireFormatLite::WIRETYPE_LENGTH_DELIMITED) {
      uint32_t length = 0;
      if (!in.ReadVarint32(&length)) return false;
      const auto at = size_t(in.CurrentPosition());
      if (length > message.size() - at || !in.Skip(int(length))) return false;
      field.inside = message.subspan(at, length);
    } else if (!WireFormatLite::SkipField(&in, tag)) {
      return false;
    }
    field.whole = message.subspan(size_t(begin), size_t(in.CurrentPosition() - begin));
    if (!visit(field)) return false;
  }
}

void Append(std::span<const std::byte> bytes, std::string& out) {
  out.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

void AppendMessage(int number, const std::string& message, std::string& out) {
  StringOutputStream stream(&out);
  CodedOutputStream coded(&stream);
  coded.WriteTag(WireFormatLite::MakeTag(number, WireFormatLite::WIRETYPE_LENGTH_DELIMITED));
  coded.WriteVarint32(uint32_t(message.size()));
  coded.WriteString(message);
}

/// A TensorProto without its data, which is found `offset` bytes from the file's beginning.
std::string Header(std::span<const std::byte> tensor, const Field& data, int64_t offset,
                   const std::string& name) {
  std::string header;
  (void)ForEachField(tensor, [&](const Field& field) {
    if (field.number != data.number) Append(field.whole, header);
    return true;
  });
  onnx::TensorProto place;
  place.set_data_location(onnx::TensorProto::EXTERNAL);
  const auto add = [&](const char* key, const std::string& value) {
    auto* entry = place.add_external_data();
    entry->set_key(key);
    entry->set_value(value);
  };
  add("location", name);
  add("offset", std::to_string(offset));
  add("length", std::to_string(data.inside->size()));
  return header + place.SerializeAsString();  // a message may be given in parts
}

/// The one field that holds large raw data, when that is how the tensor holds its elements.
std::optional<Field> LargeData(std::span<const std::byte> tensor) {
  std::optional<Field> found;
  bool other = false;
  const bool valid = ForEachField(tensor, [&](const Field& field) {
    const bool data = field.number == onnx::TensorProto::kRawDataFieldNumber;
    other = other || field.number == onnx::TensorProto::kDataLocationFieldNumber ||
            field.number == onnx::TensorProto::kExternalDataFieldNumber ||
            (data && (found.has_value() || !field.inside.has_value()));
    if (data) found = field;
    return true;
  });
  if (!valid || other || !found.has_value() || found->inside->size() < kSmallestDetached) {
    return std::nullopt;
  }
  return found;
}

}  // namespace

std::optional<onnx::ModelProto> ParseDetached(std::span<const std::byte> file,
                                              const std::string& name) {
  std::string model;
  const auto detach_graph = [&](std::span<const std::byte> graph) -> std::optional<std::string> {
    std::string out;
    const bool valid = ForEachField(graph, [&](const Field& field) {
      const bool initializer = field.number == onnx::GraphProto::kInitializerFieldNumber;
      const auto data =
          initializer && field.inside.has_value() ? LargeData(*field.inside) : std::nullopt;
      if (!data.has_value()) {
        Append(field.whole, out);
      } else {
        const int64_t offset = data->inside->data() - file.data();
        AppendMessage(field.number, Header(*field.inside, *data, offset, name), out);
      }
      return true;
    });
    return valid ? std::optional(out) : std::nullopt;
  };
  const bool valid = ForEachField(file, [&](const Field& field) {
    if (field.number != onnx::ModelProto::kGraphFieldNumber || !field.inside.has_value()) {
      Append(field.whole, model);
      return true;
    }
    const auto graph = detach_graph(*field.inside);
    if (graph.has_value()) AppendMessage(field.number, *graph, model);
    return graph.has_value();
  });
  onnx::ModelProto proto;
  if (!valid || !proto.ParseFromString(model)) return std::nullopt;
  return proto;
}

}  // namespace ptq
