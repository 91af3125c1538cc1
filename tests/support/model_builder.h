// Builds ONNX models in code, among them a small decoder that has every kind of linear.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <onnx/onnx_pb.h>

#include "ptq/model/model.h"
#include "ptq/tensor/tensor.h"

namespace ptq::testing {

using Names = std::vector<std::string>;

inline onnx::AttributeProto& AddAttribute(onnx::NodeProto& node, const std::string& name,
                                          onnx::AttributeProto::AttributeType type) {
  auto& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(type);
  return attribute;
}
inline void SetInt(onnx::NodeProto& node, const std::string& name, int64_t value) {
  AddAttribute(node, name, onnx::AttributeProto::INT).set_i(value);
}
inline void SetInts(onnx::NodeProto& node, const std::string& name, const Shape& values) {
  auto& attribute = AddAttribute(node, name, onnx::AttributeProto::INTS);
  for (const int64_t value : values) attribute.add_ints(value);
}
inline void FillTensor(onnx::TensorProto& proto, const std::string& name, const Tensor& value) {
  proto.set_name(name);
  proto.set_data_type(static_cast<int32_t>(value.dtype()));
  for (const int64_t dim : value.shape()) proto.add_dims(dim);
  proto.set_raw_data(value.bytes().data(), value.bytes().size());
}
/// Negative dimensions become unknown ones.
inline void Declare(onnx::ValueInfoProto& info, const std::string& name, DType dtype,
                    const Shape& shape) {
  info.set_name(name);
  auto* type = info.mutable_type()->mutable_tensor_type();
  type->set_elem_type(static_cast<int32_t>(dtype));
  auto* dims = type->mutable_shape();
  for (const int64_t dim : shape) {
    auto* added = dims->add_dim();
    if (dim >= 0) added->set_dim_value(dim);
  }
}
inline void FillNode(onnx::NodeProto& node, const std::string& type, const Names& inputs,
                     const Names& outputs, const std::string& name = "") {
  node.set_op_type(type);
  node.set_name(name);
  for (const std::string& input : inputs) node.add_input(input);
  for (const std::string& output : outputs) node.add_output(output);
}

/// An integer attribute.
inline int64_t IntOf(const onnx::NodeProto& node, const std::string& name, int64_t fallback = -99) {
  for (const auto& attribute : node.attribute()) {
    if (attribute.name() == name) return attribute.i();
  }
  return fallback;
}

inline std::vector<std::string> OpTypes(const onnx::GraphProto& graph) {
  std::vector<std::string> types;
  for (const auto& node : graph.node()) types.push_back(node.op_type());
  return types;
}
inline const onnx::TensorProto* FindInitializer(const onnx::GraphProto& graph,
                                                const std::string& name) {
  for (const auto& tensor : graph.initializer()) {
    if (tensor.name() == name) return &tensor;
  }
  return nullptr;
}

/// Uniform in ±`range`, by `seed` alone.
inline Tensor RandomTensor(Shape shape, float range, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-range, range);
  Tensor tensor(DType::kFloat32, std::move(shape));
  for (float& value : tensor.mutable_data<float>()) value = uniform(random);
  return tensor;
}

class GraphBuilder {
 public:
  explicit GraphBuilder(int64_t opset = 17) {
    proto_.set_ir_version(8);
    proto_.add_opset_import()->set_version(opset);
    proto_.mutable_graph()->set_name("built");
  }

  GraphBuilder& Import(const std::string& domain, int64_t version) {
    auto* import = proto_.add_opset_import();
    import->set_domain(domain);
    import->set_version(version);
    return *this;
  }
  GraphBuilder& Input(const std::string& name, const Shape& shape, DType dtype = DType::kFloat32) {
    Declare(*graph().add_input(), name, dtype, shape);
    return *this;
  }
  GraphBuilder& Output(const std::string& name, const Shape& shape, DType dtype = DType::kFloat32) {
    Declare(*graph().add_output(), name, dtype, shape);
    return *this;
  }
  GraphBuilder& Weight(const std::string& name, const Tensor& value) {
    FillTensor(*graph().add_initializer(), name, value);
    return *this;
  }
  /// Uniform values in ±`range` that differ from weight to weight.
  GraphBuilder& Random(const std::string& name, const Shape& shape, float range = 0.5f) {
    return Weight(name, RandomTensor(shape, range, ++seed_));
  }
  GraphBuilder& Op(const std::string& type, const Names& inputs, const std::string& output,
                   const std::string& name = "") {
    FillNode(*graph().add_node(), type, inputs, {output}, name);
    return *this;
  }
  /// The node added last, for attributes and domains.
  [[nodiscard]] onnx::NodeProto& last() { return *graph().mutable_node(graph().node_size() - 1); }
  GraphBuilder& Int(const std::string& name, int64_t value) {
    SetInt(last(), name, value);
    return *this;
  }
  GraphBuilder& Ints(const std::string& name, const Shape& values) {
    SetInts(last(), name, values);
    return *this;
  }
  GraphBuilder& Domain(const std::string& domain) {
    last().set_domain(domain);
    return *this;
  }

  [[nodiscard]] onnx::ModelProto& proto() { return proto_; }
  [[nodiscard]] onnx::GraphProto& graph() { return *proto_.mutable_graph(); }
  [[nodiscard]] Model Build() const { return Model::FromProto(proto_); }
  [[nodiscard]] std::string Bytes() const { return proto_.SerializeAsString(); }

 private:
  onnx::ModelProto proto_;
  uint32_t seed_ = 0;
};

inline constexpr int64_t kToyHidden = 32;
inline constexpr int64_t kToyWide = 64;
inline constexpr int64_t kToyVocabulary = 96;

/// Ids [B, T] to logits [B, T, 96] through `blocks` blocks of attention (q, k, v, o) and gated MLP
/// (gate, up, down), 7 linears each, and an LM head. Layer norms have gains and biases.
inline GraphBuilder ToyDecoder(int blocks) {
  GraphBuilder b;
  b.Input("input_ids", {-1, -1}, DType::kInt64).Output("logits", {-1, -1, kToyVocabulary});
  b.Random("model.embed_tokens.weight", {kToyVocabulary, kToyHidden}, 1.0f);
  b.Op("Gather", {"model.embed_tokens.weight", "input_ids"}, "hidden0");
  const auto norm = [&](const std::string& name, const std::string& in, const std::string& out) {
    Tensor gain = RandomTensor({kToyHidden}, 0.5f, 77);
    for (float& value : gain.mutable_data<float>()) value += 1;
    b.Weight(name + ".weight", gain).Random(name + ".bias", {kToyHidden}, 0.1f);
    b.Op("LayerNormalization", {in, name + ".weight", name + ".bias"}, out).Int("axis", -1);
  };
  const auto linear = [&](const std::string& name, const std::string& in, const std::string& out,
                          int64_t k, int64_t n) {
    b.Random(name + ".weight", {k, n}, 0.3f).Op("MatMul", {in, name + ".weight"}, out);
  };
  std::string hidden = "hidden0";
  for (int i = 0; i < blocks; ++i) {
    const std::string p = "model.layers." + std::to_string(i);
    const std::string t = "b" + std::to_string(i) + "_";
    norm(p + ".input_layernorm", hidden, t + "n1");
    for (const std::string part : {"q", "k", "v"}) {
      linear(p + ".self_attn." + part + "_proj", t + "n1", t + part, kToyHidden, kToyHidden);
    }
    b.Op("Transpose", {t + "k"}, t + "kt").Ints("perm", {0, 2, 1});
    b.Op("MatMul", {t + "q", t + "kt"}, t + "scores").Op("Softmax", {t + "scores"}, t + "p");
    b.Op("MatMul", {t + "p", t + "v"}, t + "mixed");
    linear(p + ".self_attn.o_proj", t + "mixed", t + "o", kToyHidden, kToyHidden);
    b.Op("Add", {hidden, t + "o"}, t + "h");
    norm(p + ".post_attention_layernorm", t + "h", t + "n2");
    linear(p + ".mlp.gate_proj", t + "n2", t + "gate", kToyHidden, kToyWide);
    linear(p + ".mlp.up_proj", t + "n2", t + "up", kToyHidden, kToyWide);
    b.Op("Sigmoid", {t + "gate"}, t + "sig").Op("Mul", {t + "gate", t + "sig"}, t + "act");
    b.Op("Mul", {t + "act", t + "up"}, t + "gated");
    linear(p + ".mlp.down_proj", t + "gated", t + "down", kToyWide, kToyHidden);
    hidden = "hidden" + std::to_string(i + 1);
    b.Op("Add", {t + "h", t + "down"}, hidden);
  }
  norm("model.norm", hidden, "final");
  linear("lm_head", "final", "logits", kToyHidden, kToyVocabulary);
  return b;
}

}  // namespace ptq::testing
