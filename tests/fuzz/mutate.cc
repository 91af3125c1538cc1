// Ways to change inputs: bytes, text with brackets, protobuf messages by their descriptors.
#include <algorithm>
#include <array>
#include <limits>

#include "fuzz.h"
#include <onnx/onnx_pb.h>

#include "ptq/ops/kernel.h"

namespace ptq::fuzz {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr size_t kLargest = 1 << 18;

std::string OddText(Random& random) {
  static const std::array<std::string, 14> kTexts = {"",
                                                     "x",
                                                     "y",
                                                     "../../etc/passwd",
                                                     std::string(1, '\0'),
                                                     "\n\x1b[31m",
                                                     "\xff\xfe",
                                                     "/",
                                                     ".",
                                                     std::string(5000, 'n'),
                                                     "w",
                                                     "ids",
                                                     "com.microsoft",
                                                     "ai.onnx"};
  return kTexts[Below(random, kTexts.size())];
}

std::string OperatorName(Random& random) {
  const auto entries = KernelEntries();
  return std::string(entries[Below(random, entries.size())].op_type);
}

/// A message somewhere inside of another, itself included.
Message* AnyMessage(Message& root, Random& random) {
  Message* at = &root;
  while (Below(random, 5) != 0) {
    const auto* reflection = at->GetReflection();
    std::vector<const FieldDescriptor*> set, messages;
    reflection->ListFields(*at, &set);
    std::ranges::copy_if(set, std::back_inserter(messages), [](const FieldDescriptor* field) {
      return field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    });
    if (messages.empty()) return at;
    const FieldDescriptor* field = messages[Below(random, messages.size())];
    at = field->is_repeated()
             ? reflection->MutableRepeatedMessage(
                   at, field, int(Below(random, size_t(reflection->FieldSize(*at, field)))))
             : reflection->MutableMessage(at, field);
  }
  return at;
}

/// Sets a scalar, or an element of a list of them.
class Setter {
 public:
  Setter(Message& message, const FieldDescriptor* field, Random& random)
      : message_(message), field_(field), random_(random) {}

  void Set() {
    switch (field_->cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT32:
        return SetOrAdd(&R::SetInt32, &R::AddInt32, &R::SetRepeatedInt32,
                        int32_t(OddInteger(random_)));
      case FieldDescriptor::CPPTYPE_INT64:
        return SetOrAdd(&R::SetInt64, &R::AddInt64, &R::SetRepeatedInt64, OddInteger(random_));
      case FieldDescriptor::CPPTYPE_UINT64:
        return SetOrAdd(&R::SetUInt64, &R::AddUInt64, &R::SetRepeatedUInt64,
                        uint64_t(OddInteger(random_)));
      case FieldDescriptor::CPPTYPE_FLOAT:
        return SetOrAdd(&R::SetFloat, &R::AddFloat, &R::SetRepeatedFloat, OddFloat());
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return SetOrAdd(&R::SetDouble, &R::AddDouble, &R::SetRepeatedDouble, double{OddFloat()});
      case FieldDescriptor::CPPTYPE_STRING:
        return SetOrAdd(&R::SetString, &R::AddString, &R::SetRepeatedString, TextFor());
      case FieldDescriptor::CPPTYPE_ENUM:
        if (!field_->is_repeated())
          message_.GetReflection()->SetEnumValue(&message_, field_, int(Below(random_, 24)));
        return;
      case FieldDescriptor::CPPTYPE_MESSAGE:
        if (field_->is_repeated()) {
          message_.GetReflection()->AddMessage(&message_, field_);
        } else {
          message_.GetReflection()->MutableMessage(&message_, field_);
        }
        return;
      default: return;
    }
  }

 private:
  using R = google::protobuf::Reflection;

  float OddFloat() {
    static constexpr std::array kFloats = {0.0f,
                                           -0.0f,
                                           1.0f,
                                           -1.0f,
                                           3.4e38f,
                                           1e-45f,
                                           1e10f,
                                           0.5f,
                                           std::numeric_limits<float>::infinity(),
                                           std::numeric_limits<float>::quiet_NaN()};
    return kFloats[Below(random_, kFloats.size())];
  }

  std::string TextFor() {
    if (field_->name() == "op_type") return OperatorName(random_);
    return OddText(random_);
  }

  template <class SetOne, class AddOne, class SetAt, class Value>
  void SetOrAdd(SetOne set, AddOne add, SetAt set_at, Value value) {
    const R* const reflection = message_.GetReflection();
    if (!field_->is_repeated()) return (reflection->*set)(&message_, field_, std::move(value));
    const int size = reflection->FieldSize(message_, field_);
    if (size == 0 || Below(random_, 3) == 0)
      return (reflection->*add)(&message_, field_, std::move(value));
    (reflection->*set_at)(&message_, field_, int(Below(random_, size_t(size))), std::move(value));
  }

  Message& message_;
  const FieldDescriptor* field_;
  Random& random_;
};

/// Removes a field, or one of a list; or doubles one of a list, or lets two change places.
void Rearrange(Message& message, Random& random) {
  const auto* reflection = message.GetReflection();
  std::vector<const FieldDescriptor*> set;
  reflection->ListFields(message, &set);
  if (set.empty()) return;
  const FieldDescriptor* field = set[Below(random, set.size())];
  if (!field->is_repeated()) return reflection->ClearField(&message, field);
  const int size = reflection->FieldSize(message, field);
  const int one = int(Below(random, size_t(size))), other = int(Below(random, size_t(size)));
  const size_t what = Below(random, 3);
  if (what == 0) {
    reflection->SwapElements(&message, field, one, size - 1);
    reflection->RemoveLast(&message, field);
  } else if (what == 1 && field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    Message* const added = reflection->AddMessage(&message, field);
    added->CopyFrom(reflection->GetRepeatedMessage(message, field, one));
  } else {
    reflection->SwapElements(&message, field, one, other);
  }
}

void SetAny(Message& message, Random& random) {
  const auto* descriptor = message.GetDescriptor();
  if (descriptor->field_count() == 0) return;
  Setter(message, descriptor->field(int(Below(random, size_t(descriptor->field_count())))), random)
      .Set();
}

/// An operand becomes another value of the graph.
void Rewire(onnx::GraphProto& graph, Random& random) {
  if (graph.node_size() == 0) return;
  auto& node = *graph.mutable_node(int(Below(random, size_t(graph.node_size()))));
  const auto& from = graph.node(int(Below(random, size_t(graph.node_size()))));
  std::vector<std::string> names(from.input().begin(), from.input().end());
  names.insert(names.end(), from.output().begin(), from.output().end());
  if (names.empty()) return;
  const std::string& name = names[Below(random, names.size())];
  if (node.input_size() == 0 || Below(random, 4) == 0) {
    node.add_input(name);
  } else {
    *node.mutable_input(int(Below(random, size_t(node.input_size())))) = name;
  }
}

std::string AnyPart(std::span<const std::string> others, Random& random) {
  const std::string& other = others[Below(random, others.size())];
  if (other.empty()) return "";
  const size_t begin = Below(random, other.size());
  return other.substr(begin, 1 + Below(random, std::min<size_t>(64, other.size() - begin)));
}

}  // namespace

size_t Below(Random& random, size_t end) { return end == 0 ? 0 : random() % end; }

int64_t OddInteger(Random& random) {
  static constexpr std::array<int64_t, 16> kOdd = {0,
                                                   1,
                                                   -1,
                                                   2,
                                                   -2,
                                                   127,
                                                   255,
                                                   65536,
                                                   INT32_MAX,
                                                   INT32_MIN,
                                                   int64_t{1} << 32,
                                                   int64_t{1} << 40,
                                                   int64_t{1} << 59,
                                                   int64_t{1} << 62,
                                                   INT64_MAX,
                                                   INT64_MIN};
  if (Below(random, 2) == 0) return int64_t(Below(random, 12)) - 3;
  return kOdd[Below(random, kOdd.size())];
}

void MutateBytes(std::string& input, std::span<const std::string> others, Random& random) {
  const size_t at = Below(random, input.size() + 1);
  switch (Below(random, 6)) {
    case 0:
      if (at < input.size()) input[at] = char(input[at] ^ (1 << Below(random, 8)));
      return;
    case 1:
      if (at < input.size()) input[at] = char(random());
      return;
    case 2: input.erase(at, 1 + Below(random, 16)); return;
    case 3: input.insert(at, AnyPart(others, random)); break;
    case 4: input.insert(at, input.substr(at, Below(random, 64))); break;
    default: {
      const int64_t value = OddInteger(random);
      const std::string bytes(reinterpret_cast<const char*>(&value), size_t{1} << Below(random, 4));
      input.replace(at, std::min(bytes.size(), input.size() - at), bytes);
    }
  }
  input.resize(std::min(input.size(), kLargest));
}

void MutateText(std::string& input, std::span<const std::string> others, Random& random) {
  static const std::array<std::string, 22> kWords = {"{",
                                                     "}",
                                                     "[",
                                                     "]",
                                                     "\"",
                                                     ":",
                                                     ",",
                                                     "\n",
                                                     "null",
                                                     "true",
                                                     "-1",
                                                     "1e999",
                                                     "99999999999999999999",
                                                     "{}",
                                                     "[]",
                                                     "\"\"",
                                                     "\\u0000",
                                                     "\xff",
                                                     "{{",
                                                     "}}",
                                                     "{%",
                                                     "%}"};
  if (Below(random, 2) == 0) return MutateBytes(input, others, random);
  const size_t at = Below(random, input.size() + 1);
  if (Below(random, 8) == 0) {
    const std::string& word = kWords[Below(random, kWords.size())];
    std::string many;
    for (size_t i = Below(random, 3000); i > 0; --i) many += word;
    input.insert(at, many);
  } else if (Below(random, 2) == 0) {
    input.insert(at, kWords[Below(random, kWords.size())]);
  } else {  // another value in place of one
    const size_t begin = input.find_first_of(":[,", at);
    if (begin == std::string::npos) return;
    const size_t end = std::min(input.find_first_of(",]}\n", begin + 1), input.size());
    input.replace(begin + 1, end - begin - 1, kWords[Below(random, kWords.size())]);
  }
  input.resize(std::min(input.size(), kLargest));
}

void MutateModel(std::string& input, std::span<const std::string> others, Random& random) {
  if (Below(random, 20) == 0) return MutateBytes(input, others, random);
  onnx::ModelProto model;
  if (!model.ParseFromString(input)) return MutateBytes(input, others, random);
  switch (Below(random, 4)) {
    case 0: Rearrange(*AnyMessage(model, random), random); break;
    case 1: Rewire(*model.mutable_graph(), random); break;
    default: SetAny(*AnyMessage(model, random), random);
  }
  const std::string changed = model.SerializeAsString();
  if (changed.size() < kLargest) input = changed;
}

}  // namespace ptq::fuzz
