// Small models built in code, and naive readers of what the formats write.
#pragma once

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "support/model_builder.h"
#include <gtest/gtest.h>
#include <onnx/onnx_pb.h>

#include "ptq/base/half.h"
#include "ptq/emit/linear_form.h"
#include "ptq/model/model.h"
#include "ptq/tensor/tensor.h"

namespace ptq::testing {

/// Keeps what a format hands over.
class FakeSink : public TensorSink {
 public:
  std::string Add(const std::string& name, DType dtype, const Shape& shape,
                  std::span<const std::byte> bytes) override {
    Tensor tensor(dtype, shape);
    EXPECT_EQ(tensor.bytes().size(), bytes.size()) << name;
    std::copy(bytes.begin(), bytes.end(), tensor.mutable_bytes().begin());
    tensors[name] = tensor;
    return name;
  }
  std::map<std::string, Tensor> tensors;
};

/// A linear "layer" at the node "node", from "x" to "y"; `q` outlives it.
inline LinearToEmit Describe(const QuantizedMatrix& q, DType type = DType::kFloat32) {
  LinearToEmit linear;
  linear.name = "layer";
  linear.input = "x";
  linear.output = "y";
  linear.node_name = "node";
  linear.type = type;
  linear.q = &q;
  return linear;
}

/// Code i of a little-endian bit stream, bit by bit.
inline int BitAt(std::span<const std::byte> bytes, int64_t bit) {
  return (std::to_integer<int>(bytes[size_t(bit / 8)]) >> (bit % 8)) & 1;
}
inline int CodeAt(std::span<const std::byte> bytes, int bits, int64_t i) {
  int code = 0;
  for (int b = 0; b < bits; ++b) code |= BitAt(bytes, i * bits + b) << b;
  return code;
}

inline QuantizedMatrix RandomMatrix(int64_t n, int64_t k, int bits, int64_t group_size,
                                    bool symmetric, std::mt19937& random,
                                    const Levels* codebook = nullptr) {
  QuantizedMatrix q;
  q.spec.bits = bits;
  q.spec.group_size = group_size;
  q.spec.symmetric = symmetric;
  q.spec.codebook = codebook;
  q.n = n;
  q.k = k;
  std::uniform_int_distribution<int> code(0, q.spec.levels() - 1);
  std::uniform_real_distribution<float> scale(-1.0f, 1.0f);
  for (int64_t i = 0; i < n * k; ++i) q.codes.push_back(uint8_t(code(random)));
  for (int64_t i = 0; i < n * q.spec.GroupsFor(k); ++i) {
    q.scales.push_back(RoundToHalf(scale(random)));
    const int middle = codebook == nullptr ? q.spec.mid() : 0;
    q.zero_points.push_back(uint8_t(symmetric ? middle : code(random)));
  }
  return q;
}

/// w[n, k] as the definition says.
inline float WeightOf(const QuantizedMatrix& q, int64_t n, int64_t k) {
  const auto group = size_t(n * q.spec.GroupsFor(q.k) + k / q.spec.GroupSizeFor(q.k));
  return q.spec.Level(q.codes[size_t(n * q.k + k)], q.zero_points[group]) * q.scales[group];
}

/// `ModelBuilder(17).Input("x", {2, 4}).Node("Relu", {"x"}, "y").Output("y", {2, 4}).proto`
struct ModelBuilder {
  explicit ModelBuilder(int64_t opset, int64_t ir = 8) {
    proto.set_ir_version(ir);
    proto.add_opset_import()->set_version(opset);
    proto.mutable_graph()->set_name("g");
  }
  ModelBuilder& Input(const std::string& name, const Shape& shape) {
    Declare(*proto.mutable_graph()->add_input(), name, shape);
    return *this;
  }
  ModelBuilder& Output(const std::string& name, const Shape& shape) {
    Declare(*proto.mutable_graph()->add_output(), name, shape);
    return *this;
  }
  ModelBuilder& Info(const std::string& name, const Shape& shape) {
    Declare(*proto.mutable_graph()->add_value_info(), name, shape);
    return *this;
  }
  ModelBuilder& Floats(const std::string& name, const Shape& shape, const std::vector<float>& v) {
    auto* tensor = proto.mutable_graph()->add_initializer();
    tensor->set_name(name);
    tensor->set_data_type(onnx::TensorProto::FLOAT);
    for (const int64_t dim : shape) tensor->add_dims(dim);
    tensor->set_raw_data(v.data(), v.size() * sizeof(float));
    return *this;
  }
  ModelBuilder& Random(const std::string& name, const Shape& shape) {
    std::mt19937 random(static_cast<uint32_t>(name.size()));
    std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
    std::vector<float> values(static_cast<size_t>(NumElements(shape)));
    for (float& value : values) value = uniform(random);
    return Floats(name, shape, values);
  }
  ModelBuilder& Node(const std::string& type, const std::vector<std::string>& inputs,
                     const std::string& output) {
    node = proto.mutable_graph()->add_node();
    node->set_op_type(type);
    node->set_name(output + "_node");
    for (const auto& input : inputs) node->add_input(input);
    node->add_output(output);
    return *this;
  }
  ModelBuilder& Int(const std::string& name, int64_t value) {
    auto* attribute = node->add_attribute();
    attribute->set_name(name);
    attribute->set_type(onnx::AttributeProto::INT);
    attribute->set_i(value);
    return *this;
  }
  ModelBuilder& Ints(const std::string& name, const std::vector<int64_t>& values) {
    auto* attribute = node->add_attribute();
    attribute->set_name(name);
    attribute->set_type(onnx::AttributeProto::INTS);
    for (const int64_t value : values) attribute->add_ints(value);
    return *this;
  }
  static void Declare(onnx::ValueInfoProto& info, const std::string& name, const Shape& shape) {
    info.set_name(name);
    auto* type = info.mutable_type()->mutable_tensor_type();
    type->set_elem_type(onnx::TensorProto::FLOAT);
    for (const int64_t dim : shape) type->mutable_shape()->add_dim()->set_dim_value(dim);
  }
  onnx::ModelProto proto;
  onnx::NodeProto* node = nullptr;
};

}  // namespace ptq::testing
