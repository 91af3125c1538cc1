// Operators that make tensors.
#include "support/kernel_testing.h"

#include "ptq/base/error.h"

namespace ptq::testing {
namespace {

TEST(Constant, ReadsEveryNumericForm) {
  const Tensor value = Int64s({1, 2}, {7, 8});
  ExpectEqual(OpTest("Constant").TensorValue("value", value).Run({}), value);
  ExpectEqual(OpTest("Constant").Int("value_int", 3).Run({}), Tensor::Scalar<int64_t>(3));
  ExpectEqual(OpTest("Constant").Float("value_float", 3).Run({}), Tensor::Scalar(3.0f));
  ExpectEqual(OpTest("Constant").Ints("value_ints", {3, 4}).Run({}), Int64s({3, 4}));
  ExpectEqual(OpTest("Constant").Floats("value_floats", {3, 4}).Run({}), Floats({2}, {3, 4}));
  const Tensor half = Floats({1}, {0.5f}).Cast(DType::kFloat16);
  ExpectEqual(OpTest("Constant").TensorValue("value", half).Run({}), Floats({1}, {0.5f}));
  EXPECT_THROW((void)OpTest("Constant").String("value_string", "x").Run({}), UnsupportedError);
}

TEST(Constant, WritesSparseValuesOut) {
  OpTest test("Constant");
  auto* attribute = test.proto().add_attribute();
  attribute->set_name("sparse_value");
  attribute->set_type(onnx::AttributeProto::SPARSE_TENSOR);
  auto* sparse = attribute->mutable_sparse_tensor();
  sparse->add_dims(2);
  sparse->add_dims(3);
  sparse->mutable_values()->set_data_type(onnx::TensorProto::FLOAT);
  sparse->mutable_values()->add_dims(2);
  sparse->mutable_values()->add_float_data(5);
  sparse->mutable_values()->add_float_data(6);
  sparse->mutable_indices()->set_data_type(onnx::TensorProto::INT64);
  sparse->mutable_indices()->add_dims(2);
  sparse->mutable_indices()->add_int64_data(1);
  sparse->mutable_indices()->add_int64_data(5);
  ExpectEqual(test.Run({}), Floats({2, 3}, {0, 5, 0, 0, 0, 6}));
}

TEST(ConstantOfShape, RepeatsItsValue) {
  ExpectEqual(OpTest("ConstantOfShape").Run({Int64s({2})}), Floats({2}, {0, 0}));
  ExpectEqual(OpTest("ConstantOfShape").TensorValue("value", Int64s({4})).Run({Int64s({2, 1})}),
              Int64s({2, 1}, {4, 4}));
  ExpectEqual(OpTest("ConstantOfShape").TensorValue("value", Bools({1}, {true})).Run({Int64s({})}),
              Tensor::Scalar(true));
  EXPECT_EQ(OpTest("ConstantOfShape").Run({Int64s({0, 3})}).shape(), (Shape{0, 3}));
}

Tensor RangeOf(int64_t start, int64_t limit, int64_t delta) {
  return OpTest("Range").Run({Tensor::Scalar(start), Tensor::Scalar(limit), Tensor::Scalar(delta)});
}

TEST(Range, StopsBeforeItsLimit) {
  ExpectEqual(RangeOf(2, 7, 2), Int64s({2, 4, 6}));
  ExpectEqual(RangeOf(2, 6, 2), Int64s({2, 4}));
  ExpectEqual(RangeOf(3, -1, -2), Int64s({3, 1}));
  ExpectEqual(RangeOf(3, 3, 1), Int64s({}));
  ExpectEqual(RangeOf(3, 1, 1), Int64s({}));
  EXPECT_THROW((void)RangeOf(0, 1, 0), InputError);
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  EXPECT_THROW((void)RangeOf(0, kMax, 1), InputError);
  EXPECT_THROW((void)RangeOf(-kMax, kMax, kMax), InputError);
  ExpectEqual(RangeOf(0, kMax, kMax), Int64s({0}));
  const Tensor infinity = Tensor::Scalar(INFINITY);
  EXPECT_THROW((void)OpTest("Range").Run({Tensor::Scalar(0.0f), infinity, Tensor::Scalar(1.0f)}),
               InputError);
  ExpectEqual(
      OpTest("Range").Run({Tensor::Scalar(0.0f), Tensor::Scalar(1.0f), Tensor::Scalar(0.3f)}),
      Floats({4}, {0.0f, 0.3f, 0.6f, 0.9f}), 1e-6f);
}

TEST(EyeLike, PutsOnesOnTheDiagonal) {
  const Tensor like = Tensor::Filled<int32_t>({2, 3}, 5);
  ExpectEqual(OpTest("EyeLike").Int("dtype", 1).Int("k", 1).Run({like}),
              Floats({2, 3}, {0, 1, 0, 0, 0, 1}));
  ExpectEqual(OpTest("EyeLike").Int("k", -5).Run({like}), Tensor::Filled<int32_t>({2, 3}, 0));
}

}  // namespace
}  // namespace ptq::testing
