// Rewrites the bytes of the protobuf messages: large raw data becomes its place in the file.
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

/// Rewrites a model file's messages on the way from the model to its initializers, those of
/// subgraphs included.
class Detacher {
 public:
  Detacher(std::span<const std::byte> file, std::string name)
      : file_(file), name_(std::move(name)) {}

  /// Nothing when the bytes are malformed.
  [[nodiscard]] std::optional<std::string> Graph(std::span<const std::byte> graph) const {
    return Rewrite(graph, [&](const Field& field) -> std::optional<std::string> {
      if (field.number == onnx::GraphProto::kNodeFieldNumber) return Node(*field.inside);
      if (field.number != onnx::GraphProto::kInitializerFieldNumber) return std::nullopt;
      const auto data = LargeData(*field.inside);
      if (!data.has_value()) return std::nullopt;
      return Header(*field.inside, *data, data->inside->data() - file_.data(), name_);
    });
  }

  /// `replace(field)` gives what takes the place of a field's inside; nothing: it stays.
  template <class Replace>
  static std::optional<std::string> Rewrite(std::span<const std::byte> message,
                                            const Replace& replace) {
    std::string out;
    const bool valid = ForEachField(message, [&](const Field& field) {
      const auto replaced =
          field.inside.has_value() ? replace(field) : std::optional<std::string>();
      if (replaced.has_value()) {
        AppendMessage(field.number, *replaced, out);
      } else {
        Append(field.whole, out);
      }
      return true;
    });
    return valid ? std::optional(std::move(out)) : std::nullopt;
  }

 private:
  /// The node, when it has a subgraph.
  [[nodiscard]] std::optional<std::string> Node(std::span<const std::byte> node) const {
    if (!HasSubgraph(node)) return std::nullopt;
    const auto in_attribute = [&](const Field& field) -> std::optional<std::string> {
      if (field.number != onnx::AttributeProto::kGFieldNumber) return std::nullopt;
      return Graph(*field.inside);
    };
    return Rewrite(node, [&](const Field& field) -> std::optional<std::string> {
      if (field.number != onnx::NodeProto::kAttributeFieldNumber) return std::nullopt;
      return Rewrite(*field.inside, in_attribute);
    });
  }

  static bool HasSubgraph(std::span<const std::byte> node) {
    bool found = false;
    const auto look = [&](const Field& field) {
      found = found || field.number == onnx::AttributeProto::kGFieldNumber;
      return true;
    };
    (void)ForEachField(node, [&](const Field& field) {
      const bool attribute = field.number == onnx::NodeProto::kAttributeFieldNumber;
      if (attribute && field.inside.has_value()) (void)ForEachField(*field.inside, look);
      return true;
    });
    return found;
  }

  std::span<const std::byte> file_;
  std::string name_;
};

}  // namespace

std::optional<onnx::ModelProto> ParseDetached(std::span<const std::byte> file,
                                              const std::string& name) {
  const Detacher detacher(file, name);
  const auto model = Detacher::Rewrite(file, [&](const Field& field) -> std::optional<std::string> {
    if (field.number != onnx::ModelProto::kGraphFieldNumber) return std::nullopt;
    return detacher.Graph(*field.inside);
  });
  onnx::ModelProto proto;
  if (!model.has_value() || !proto.ParseFromString(*model)) return std::nullopt;
  return proto;
}

}  // namespace ptq
