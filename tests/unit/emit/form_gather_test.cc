// What the forms of tables write, read back by the definitions of the operators.
#include <random>
#include <string>

#include "emit_testing.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/emit/linear_form.h"
#include "ptq/emit/table_form.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;

const TableForm& Blocks() { return FindLinearForm("matmulnbits").tables(); }
const TableForm& Rows() { return FindLinearForm("qdq").tables(); }

QuantizedMatrix Part(const QuantizedMatrix& q, int64_t begin, int64_t end) {
  const int64_t groups = q.spec.GroupsFor(q.k);
  QuantizedMatrix part(q.spec, end - begin, q.k);
  std::copy(q.codes.begin() + begin * q.k, q.codes.begin() + end * q.k, part.codes.begin());
  std::copy(q.scales.begin() + begin * groups, q.scales.begin() + end * groups,
            part.scales.begin());
  std::copy(q.zero_points.begin() + begin * groups, q.zero_points.begin() + end * groups,
            part.zero_points.begin());
  return part;
}

TableToEmit TableOf(const QuantizedMatrix& q, DType type = DType::kFloat32) {
  TableToEmit table{"t", q.n, q.k, type, q.spec, {}, {{"ids", "rows", "lookup"}}, {}};
  table.rows = [&q](int64_t begin, int64_t end) { return Part(q, begin, end); };
  return table;
}

std::vector<std::string> Types(const std::vector<onnx::NodeProto>& nodes) {
  std::vector<std::string> types;
  for (const auto& node : nodes) types.push_back(node.op_type());
  return types;
}

/// Element [n, k] of what GatherBlockQuantized reads.
float BlockValue(const testing::FakeSink& sink, const onnx::NodeProto& node, int64_t n, int64_t k) {
  const int bits = int(testing::IntOf(node, "bits"));
  const int64_t block = testing::IntOf(node, "block_size");
  const Tensor& codes = sink.tensors.at(node.input(0));
  const Tensor& scales = sink.tensors.at(node.input(2));
  const int64_t blocks = scales.dim(1);
  const auto row = [&](const Tensor& t) {
    return t.bytes().subspan(size_t(n * t.dim(1)), size_t(t.dim(1)));
  };
  const int zero = node.input_size() > 3
                       ? testing::CodeAt(row(sink.tensors.at(node.input(3))), bits, k / block)
                       : 1 << (bits - 1);
  const Tensor wide = scales.Widened();
  return float(testing::CodeAt(row(codes), bits, k) - zero) *
         wide.data<float>()[size_t(n * blocks + k / block)];
}

TEST(GatherBlocks, WritesRowsThatStartOnBytes) {
  std::mt19937 random(3);
  for (const int bits : {2, 4, 8}) {
    for (const int64_t group : {0, 16, 128}) {
      for (const bool symmetric : {true, false}) {
        for (const DType type : {DType::kFloat32, DType::kFloat16}) {
          const auto q = testing::RandomMatrix(7, 20, bits, group, symmetric, random);
          testing::FakeSink sink;
          const TableNodes nodes = Blocks().Emit(TableOf(q, type), sink);
          ASSERT_THAT(Types(nodes.lookups.at(0)), ElementsAre("GatherBlockQuantized"));
          const onnx::NodeProto& node = nodes.lookups[0][0];
          EXPECT_EQ(node.output(0), "rows");
          EXPECT_EQ(node.input(1), "ids");
          EXPECT_EQ(sink.tensors.at(node.input(0)).shape(), (Shape{7, 20 * bits / 8}));
          EXPECT_EQ(sink.tensors.at(node.input(2)).dtype(), type);
          for (int64_t n = 0; n < q.n; ++n) {
            for (int64_t k = 0; k < q.k; ++k) {
              EXPECT_EQ(BlockValue(sink, node, n, k), testing::WeightOf(q, n, k));
            }
          }
        }
      }
    }
  }
}

TEST(GatherBlocks, ServesALinearWithOneSetOfPaddedCodes) {
  std::mt19937 random(4);
  const auto q = testing::RandomMatrix(5, 40, 4, 32, false, random);
  TableToEmit table = TableOf(q);
  table.linears = {{"head", "x", "y", "", "head", DType::kFloat32, nullptr, 4}};
  testing::FakeSink sink;
  const TableNodes nodes = Blocks().Emit(table, sink);
  ASSERT_THAT(Types(nodes.lookups.at(0)), ElementsAre("GatherBlockQuantized", "Slice"));
  ASSERT_THAT(Types(nodes.linears.at(0)), ElementsAre("Reshape", "MatMulNBits"));
  const onnx::NodeProto& lookup = nodes.lookups[0][0];
  const onnx::NodeProto& product = nodes.linears[0][1];
  EXPECT_EQ(nodes.linears[0][0].input(0), lookup.input(0));
  EXPECT_EQ(product.input(1), nodes.linears[0][0].output(0));
  EXPECT_EQ(product.input(2), lookup.input(2));
  EXPECT_EQ(product.input(3), lookup.input(3));
  EXPECT_EQ(testing::IntOf(product, "K"), 40);
  const auto shape = sink.tensors.at(nodes.linears[0][0].input(1)).ToInt64s();
  EXPECT_THAT(shape, ElementsAre(5, 2, 16));
  EXPECT_EQ(sink.tensors.at(lookup.input(0)).shape(), (Shape{5, 32}));
  for (int64_t n = 0; n < q.n; ++n) {
    for (int64_t k = 0; k < 40; ++k) {
      EXPECT_EQ(BlockValue(sink, lookup, n, k), testing::WeightOf(q, n, k));
    }
    for (int64_t k = 40; k < 64; ++k) EXPECT_EQ(BlockValue(sink, lookup, n, k), 0);
  }
}

TEST(GatherBlocks, AsksForCodesInOrderAndOnce) {
  const int64_t n = 3000;
  const int64_t k = 1024;
  int64_t next = 0;
  int calls = 0;
  QuantSpec spec{8, 128, true, ScaleType::kFloat32};
  TableToEmit table{"t", n, k, DType::kFloat32, spec, {}, {}, {}};
  table.rows = [&](int64_t begin, int64_t end) {
    EXPECT_EQ(begin, next);
    EXPECT_LE((end - begin) * k, 4 << 20);
    next = end;
    ++calls;
    return QuantizedMatrix(spec, end - begin, k);
  };
  testing::FakeSink sink;
  (void)Blocks().Emit(table, sink);
  EXPECT_EQ(next, n);
  EXPECT_GT(calls, 1);
}

TEST(GatherBlocks, RefusesRowsThatDoNotFillBytes) {
  TensorFacts facts;
  facts.kind = SubjectKind::kTable;
  facts.n = 2000;
  facts.k = 33;
  facts.opset = 17;
  EXPECT_THAT(Blocks().Refusal(facts, {{4, 32, true, ScaleType::kFloat32}, 4}),
              ::testing::HasSubstr("do not fill bytes"));
  EXPECT_EQ(Blocks().Refusal(facts, {{8, 32, true, ScaleType::kFloat32}, 4}), "");
  facts.tied = true;
  EXPECT_EQ(Blocks().Refusal(facts, {{4, 32, true, ScaleType::kFloat32}, 4}), "");
  facts.opset = 9;
  EXPECT_THAT(Blocks().Refusal(facts, {{4, 32, true, ScaleType::kFloat32}, 4}),
              ::testing::HasSubstr("opset 9"));
}

TEST(GatherRows, WritesBytesAndAScaleARow) {
  std::mt19937 random(5);
  for (const bool symmetric : {true, false}) {
    const auto q = testing::RandomMatrix(6, 9, 8, 0, symmetric, random);
    testing::FakeSink sink;
    const TableNodes nodes = Rows().Emit(TableOf(q), sink);
    const auto& lookup = nodes.lookups.at(0);
    EXPECT_EQ(lookup.back().output(0), "rows");
    EXPECT_EQ(Types(lookup).size(), symmetric ? 4u : 7u);
    const Tensor& codes = sink.tensors.at(lookup[0].input(0));
    const Tensor& scales = sink.tensors.at(lookup[1].input(0));
    EXPECT_EQ(scales.shape(), (Shape{6, 1}));
    EXPECT_EQ(codes.dtype(), symmetric ? DType::kInt8 : DType::kUint8);
    for (int64_t n = 0; n < q.n; ++n) {
      for (int64_t k = 0; k < q.k; ++k) {
        const auto at = size_t(n * q.k + k);
        const int code = symmetric ? int(codes.data<int8_t>()[at])
                                   : int(codes.data<uint8_t>()[at]) - q.zero_points[size_t(n)];
        EXPECT_EQ(float(code) * scales.data<float>()[size_t(n)], testing::WeightOf(q, n, k));
      }
    }
  }
}

TEST(GatherRows, CastsWhereTheGraphHasBfloat16) {
  std::mt19937 random(6);
  const auto q = testing::RandomMatrix(4, 8, 8, 0, true, random);
  testing::FakeSink sink;
  const TableNodes nodes = Rows().Emit(TableOf(q, DType::kBFloat16), sink);
  EXPECT_EQ(nodes.lookups[0].back().op_type(), "Cast");
  EXPECT_EQ(nodes.lookups[0].back().output(0), "rows");
}

}  // namespace
}  // namespace ptq
