// Runs one operator on tensors, without a model: what the tests of kernels share.
#pragma once

#include <cmath>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <onnx/onnx_pb.h>

#include "ptq/ops/kernel.h"

namespace ptq::testing {

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// A node under construction: `OpTest("Concat", 13).Int("axis", 1).Run({a, b})`.
/// An undefined Tensor among the inputs stands for an optional input left out.
class OpTest {
 public:
  explicit OpTest(const std::string& type, int64_t opset = 21, const std::string& domain = "")
      : opset_(opset) {
    proto_.set_op_type(type);
    proto_.set_domain(domain);
    proto_.set_name("tested");
  }

  OpTest& Int(const std::string& name, int64_t value) {
    Add(name, onnx::AttributeProto::INT)->set_i(value);
    return *this;
  }
  OpTest& Float(const std::string& name, float value) {
    Add(name, onnx::AttributeProto::FLOAT)->set_f(value);
    return *this;
  }
  OpTest& String(const std::string& name, const std::string& value) {
    Add(name, onnx::AttributeProto::STRING)->set_s(value);
    return *this;
  }
  OpTest& Ints(const std::string& name, const std::vector<int64_t>& values) {
    auto* attribute = Add(name, onnx::AttributeProto::INTS);
    for (const int64_t value : values) attribute->add_ints(value);
    return *this;
  }
  OpTest& Floats(const std::string& name, const std::vector<float>& values) {
    auto* attribute = Add(name, onnx::AttributeProto::FLOATS);
    for (const float value : values) attribute->add_floats(value);
    return *this;
  }
  /// A tensor attribute with its bytes stored raw.
  OpTest& TensorValue(const std::string& name, const Tensor& value) {
    auto* proto = Add(name, onnx::AttributeProto::TENSOR)->mutable_t();
    proto->set_data_type(static_cast<int32_t>(value.dtype()));
    for (const int64_t dim : value.shape()) proto->add_dims(dim);
    proto->set_raw_data(value.bytes().data(), value.bytes().size());
    return *this;
  }
  OpTest& Outputs(int count) {
    outputs_ = count;
    return *this;
  }
  [[nodiscard]] onnx::NodeProto& proto() { return proto_; }

  [[nodiscard]] std::vector<Tensor> RunAll(std::vector<Tensor> inputs) const {
    onnx::NodeProto proto = proto_;
    for (size_t i = 0; i < inputs.size(); ++i) {
      proto.add_input(inputs[i].defined() ? "in" + std::to_string(i) : "");
    }
    for (int i = 0; i < outputs_; ++i) proto.add_output("out" + std::to_string(i));
    const auto kernel = CreateKernel(Node(proto, opset_));
    const auto count = static_cast<size_t>(outputs_);
    KernelContext context(std::move(inputs), count, std::vector<bool>(count, true));
    kernel->Run(context);
    // Outputs may view the node's attributes or the inputs: each gets memory of its own.
    for (Tensor& output : context.outputs()) {
      if (output.defined()) (void)output.mutable_bytes();
    }
    return std::move(context.outputs());
  }
  /// The first output.
  [[nodiscard]] Tensor Run(std::vector<Tensor> inputs) const {
    return RunAll(std::move(inputs))[0];
  }

 private:
  onnx::AttributeProto* Add(const std::string& name, onnx::AttributeProto::AttributeType type) {
    auto* attribute = proto_.add_attribute();
    attribute->set_name(name);
    attribute->set_type(type);
    return attribute;
  }
  onnx::NodeProto proto_;
  int64_t opset_;
  int outputs_ = 1;
};

/// Tensors written down: `Floats({2, 2}, {1, 2, 3, 4})`.
[[nodiscard]] inline Tensor Floats(Shape shape, std::initializer_list<float> values) {
  return Tensor::From<float>(std::move(shape), values);
}
[[nodiscard]] inline Tensor Int64s(Shape shape, std::initializer_list<int64_t> values) {
  return Tensor::From<int64_t>(std::move(shape), values);
}
/// A one-dimensional int64 tensor, as shapes and axes are given.
[[nodiscard]] inline Tensor Int64s(const std::vector<int64_t>& values) {
  return Tensor::From<int64_t>({static_cast<int64_t>(values.size())}, std::span(values));
}
[[nodiscard]] inline Tensor Bools(Shape shape, std::initializer_list<bool> values) {
  return Tensor::From<bool>(std::move(shape), values);
}

/// Standard normal values.
[[nodiscard]] inline Tensor RandomFloats(const Shape& shape, std::mt19937& random) {
  Tensor tensor(DType::kFloat32, shape);
  std::normal_distribution<float> normal;
  for (float& value : tensor.mutable_data<float>()) value = normal(random);
  return tensor;
}

template <class T>
[[nodiscard]] std::vector<T> Values(const Tensor& tensor) {
  const auto data = tensor.data<T>();
  return {data.begin(), data.end()};
}

/// Same type, same shape, same elements (floats within `tolerance` of the expected ones).
inline void ExpectEqual(const Tensor& actual, const Tensor& expected, float tolerance = 0.0f) {
  ASSERT_EQ(DTypeName(actual.dtype()), DTypeName(expected.dtype()));
  ASSERT_EQ(actual.shape(), expected.shape());
  if (actual.dtype() != DType::kFloat32) {
    ASSERT_EQ(std::memcmp(actual.bytes().data(), expected.bytes().data(), actual.bytes().size()),
              0);
    return;
  }
  const auto a = actual.data<float>();
  const auto e = expected.data<float>();
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_TRUE(a[i] == e[i] || std::abs(a[i] - e[i]) <= tolerance)
        << "element " << i << ": " << a[i] << " instead of " << e[i];
  }
}

}  // namespace ptq::testing
