// Casts to every type, 8-bit floats and packed integers among them, and what an unknown operator or
// attribute is told.
#include "support/kernel_testing.h"

#include "ptq/base/error.h"

namespace ptq::testing {
namespace {

/// e4m3fn, e4m3fnuz, e5m2, e5m2fnuz.
constexpr DType kFloat8Types[] = {DType{17}, DType{18}, DType{19}, DType{20}};

OpTest CastTo(DType dtype) { return OpTest("Cast", 25).Int("to", static_cast<int64_t>(dtype)); }

/// Every code of an 8-bit type.
Tensor AllCodes(DType dtype) {
  Tensor codes(dtype, {256});
  int code = 0;
  for (std::byte& byte : codes.mutable_bytes()) byte = static_cast<std::byte>(code++);
  return codes;
}

TEST(Float8, EveryNumberSurvivesFloat32) {
  for (const DType dtype : kFloat8Types) {
    const Tensor codes = AllCodes(dtype);
    const Tensor values = CastTo(DType::kFloat32).Run({codes});
    const Tensor again = CastTo(dtype).Int("saturate", 0).Run({values});
    for (size_t i = 0; i < 256; ++i) {
      if (std::isnan(values.data<float>()[i])) continue;
      ASSERT_EQ(again.bytes()[i], codes.bytes()[i]) << DTypeName(dtype) << " code " << i;
    }
  }
}

TEST(Float8, RoundsToTheNearestNumber) {
  std::mt19937 random(5);
  Tensor x = RandomFloats({2000}, random);
  for (float& value : x.mutable_data<float>()) value *= std::exp2(float(random() % 20) - 12);
  for (const DType dtype : kFloat8Types) {
    const Tensor all = CastTo(DType::kFloat32).Run({AllCodes(dtype)});
    const Tensor rounded = CastTo(DType::kFloat32).Run({CastTo(dtype).Run({x})});
    for (size_t i = 0; i < 2000; ++i) {
      const float value = x.data<float>()[i];
      float nearest = std::numeric_limits<float>::infinity();
      for (const float candidate : all.data<float>()) {
        if (!std::isfinite(candidate)) continue;
        nearest = std::min(nearest, std::abs(candidate - value));
      }
      ASSERT_EQ(std::abs(rounded.data<float>()[i] - value), nearest)
          << DTypeName(dtype) << " of " << value;
    }
  }
}

TEST(Cast, RoundsToSixteenBitsAndYieldsFloat32) {
  const Tensor third = Floats({2}, {1.0f / 3.0f, 1e6f});
  const auto to = [&](int64_t type) { return OpTest("Cast").Int("to", type).Run({third}); };
  ExpectEqual(to(1), third);
  ExpectEqual(to(11), third);
  ExpectEqual(to(10), Floats({2}, {0.333251953125f, INFINITY}));
  ExpectEqual(to(16), Floats({2}, {0.333984375f, 999424.0f}));
}

TEST(Cast, TruncatesToIntegersAndTestsForZero) {
  const Tensor data = Floats({4}, {-1.9f, 0.0f, 0.9f, 300.5f});
  ExpectEqual(OpTest("Cast").Int("to", 7).Run({data}), Int64s({-1, 0, 0, 300}));
  ExpectEqual(OpTest("Cast").Int("to", 9).Run({data}), Bools({4}, {true, false, true, true}));
  ExpectEqual(OpTest("CastLike").Run({Bools({2}, {true, false}), Int64s({5})}), Int64s({1, 0}));
  EXPECT_THROW((void)OpTest("Cast").Int("to", 8).Run({data}), UnsupportedError);
}

TEST(Cast, PackedIntegersKeepTheirValues) {
  const Tensor x = Int64s({5}, {-8, -1, 0, 3, 7});
  const Tensor packed = CastTo(DType::kInt4).Run({x});
  EXPECT_EQ(packed.bytes().size(), 3u);
  ExpectEqual(CastTo(DType::kInt64).Run({packed}), x);
  const Tensor floats = Floats({4}, {-7.5f, -1.6f, 2.4f, 6.5f});
  ExpectEqual(CastTo(DType::kFloat32).Run({CastTo(DType::kInt4).Run({floats})}),
              Floats({4}, {-8, -2, 2, 7}));
}

TEST(BitCast, KeepsTheBits) {
  const OpTest cast = OpTest("BitCast", 26).Int("to", static_cast<int64_t>(DType::kInt32));
  ExpectEqual(cast.Run({Floats({2}, {1.0f, -0.0f})}),
              Tensor::From<int32_t>({2}, {0x3f800000, INT32_MIN}));
  EXPECT_THROW((void)cast.Run({Int64s({1}, {1})}), UnsupportedError);
}

std::string ErrorOf(const OpTest& test) {
  try {
    (void)test.Run({Floats({1}, {1})});
  } catch (const UnsupportedError& error) {
    return error.what();
  }
  return "";
}

TEST(CreateKernel, NamesNodeAndOperatorOfWhatItCannotRun) {
  using ::testing::HasSubstr;
  EXPECT_THAT(ErrorOf(OpTest("LSTM", 14)),
              HasSubstr("node 'tested': operator ai.onnx::LSTM (opset 14"));
  EXPECT_THAT(ErrorOf(OpTest("Add", 6)), HasSubstr("from opset 7 on"));
  EXPECT_THAT(ErrorOf(OpTest("Gelu", 20).String("approximate", "cubic")),
              HasSubstr("node 'tested' (Gelu): "));
  EXPECT_THAT(ErrorOf(CastTo(DType::kString)), HasSubstr("node 'tested' (Cast): "));
}

}  // namespace
}  // namespace ptq::testing
