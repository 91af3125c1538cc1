// The bytes that a form predicts are those that it writes, for every form, specification and shape.
#include <algorithm>
#include <random>
#include <string>

#include "emit_testing.h"
#include <gtest/gtest.h>

#include "ptq/emit/linear_form.h"
#include "ptq/emit/stored_codes.h"
#include "ptq/emit/table_form.h"
#include "ptq/transform/tensor_sink.h"

namespace ptq {
namespace {

/// Adds up what it is given.
class CountingSink : public TensorSink {
 public:
  std::string Add(const std::string& name, DType dtype, const Shape& /*shape*/,
                  std::span<const std::byte> bytes) override {
    if (dtype != DType::kInt64) bytes_ += int64_t(bytes.size());  // shapes are no weights
    return name;
  }
  [[nodiscard]] int64_t bytes() const { return bytes_; }

 private:
  int64_t bytes_ = 0;
};

TensorFacts Facts(SubjectKind kind, int64_t n, int64_t k, int64_t experts, DType compute) {
  TensorFacts facts;
  facts.kind = kind;
  facts.n = n;
  facts.k = k;
  facts.experts = experts;
  facts.compute = compute;
  facts.opset = 21;
  return facts;
}

class FormBytes : public ::testing::TestWithParam<const LinearForm*> {
 protected:
  /// Whether the form takes the weight; then the bytes must agree.
  bool Check(SubjectKind kind, int64_t n, int64_t k, QuantSpec spec, DType compute) {
    const LinearForm& form = *GetParam();
    spec.codebook = form.codebook();
    const int64_t experts = kind == SubjectKind::kStack ? 2 : 1;
    const TensorFacts facts = Facts(kind, n * experts, k, experts, compute);
    if (!form.Refusal(facts, {spec, 4}).empty()) return false;
    QuantizedMatrix q = testing::RandomMatrix(n * experts, k, spec.bits, spec.group_size,
                                              spec.symmetric, random_, form.codebook());
    q.spec = spec;
    q = AsStored(std::move(q));
    CountingSink sink;
    if (kind == SubjectKind::kExpert) {
      onnx::NodeProto moe;
      for (const char* const name : {"x", "r", "up", "", "down"}) moe.add_input(name);
      moe.add_output("y");
      const auto row = [&](int64_t /*expert*/, int64_t r) { return ExpertRow{&q, r}; };
      const ExpertStack stack{1, q.n, q.k, q.spec, row};
      (void)form.EmitExperts({&moe, compute, stack, stack}, sink);
      EXPECT_EQ(2 * form.Bytes(facts, {spec, 4}), sink.bytes()) << n << " x " << k;
      return true;
    }
    if (kind == SubjectKind::kStack) {
      StackToEmit stack{"w", "i", "y", "node", compute, &q, experts, false};
      (void)form.EmitStack(stack, sink);
    } else {
      LinearToEmit linear{"w", "x", "y", "", "node", compute, &q, 4};
      (void)form.Emit(linear, sink);
    }
    EXPECT_EQ(form.Bytes(facts, {spec, 4}), sink.bytes())
        << form.name() << ", " << n << " x " << k << ", " << spec.bits << " bits, group "
        << spec.group_size << (spec.symmetric ? "" : ", asymmetric");
    return true;
  }

  std::mt19937 random_{17};
};

TEST_P(FormBytes, AreWhatIsWritten) {
  int accepted = 0;
  for (const SubjectKind kind : {SubjectKind::kLinear, SubjectKind::kStack, SubjectKind::kExpert}) {
    for (const int bits : {2, 3, 4, 8}) {
      for (const int64_t group : {0, 16, 32, 128, 256}) {
        for (const bool symmetric : {true, false}) {
          for (const auto& [n, k] :
               {std::pair<int64_t, int64_t>{5, 7}, {4, 96}, {3, 130}, {12, 1}}) {
            for (const DType type : {DType::kFloat32, DType::kFloat16, DType::kBFloat16}) {
              const ScaleType scales =
                  type == DType::kFloat16 ? ScaleType::kFloat16 : ScaleType::kFloat32;
              accepted += Check(kind, n, k, {bits, group, symmetric, scales}, type) ? 1 : 0;
            }
          }
        }
      }
    }
  }
  // Some hold one size of groups only, or whole blocks of one number of bits.
  const LinearForm& form = *GetParam();
  const bool holds_few =
      form.codebook() != nullptr || form.name() == "matmulinteger" || form.name() == "qmoe";
  EXPECT_GT(accepted, holds_few ? 5 : 400);
}

class TableFormBytes : public ::testing::TestWithParam<const TableForm*> {};

TEST_P(TableFormBytes, AreWhatIsWritten) {
  const TableForm& form = *GetParam();
  std::mt19937 random(19);
  int accepted = 0;
  for (const int bits : {2, 3, 4, 8}) {
    for (const int64_t group : {0, 16, 32, 128, 256}) {
      for (const bool symmetric : {true, false}) {
        for (const auto& [n, k] : {std::pair<int64_t, int64_t>{5, 7}, {4, 96}, {3, 130}, {6, 4}}) {
          for (const bool tied : {true, false}) {
            TensorFacts facts = Facts(SubjectKind::kTable, n, k, 1, DType::kFloat16);
            facts.tied = tied && form.Serves(FindLinearForm("matmulnbits"));
            const QuantSpec spec = form.Preferred({bits, group, symmetric, ScaleType::kFloat16});
            if (!form.Refusal(facts, {spec, 4}).empty()) continue;
            QuantizedMatrix q =
                AsStored(testing::RandomMatrix(n, k, bits, spec.group_size, symmetric, random));
            TableToEmit table{"t", n, k, DType::kFloat16, q.spec, {}, {{"i", "y", "node"}}, {}};
            table.rows = [&](int64_t, int64_t) { return q; };
            if (facts.tied) {
              table.linears = {{"w", "x", "z", "", "node", DType::kFloat16, nullptr, 4}};
            }
            CountingSink sink;
            (void)form.Emit(table, sink);
            EXPECT_EQ(form.Bytes(facts, {spec, 4}), sink.bytes())
                << form.name() << ", " << n << " x " << k << ", " << bits << " bits, group "
                << group << (symmetric ? "" : ", asymmetric") << (facts.tied ? ", tied" : "");
            ++accepted;
          }
        }
      }
    }
  }
  EXPECT_GT(accepted, 40);
}

std::string NameOf(const Form& form) {
  std::string name(form.name());
  std::ranges::replace(name, '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(All, TableFormBytes,
                         ::testing::ValuesIn(TableForms().begin(), TableForms().end()),
                         [](const auto& form) { return NameOf(*form.param); });
INSTANTIATE_TEST_SUITE_P(All, FormBytes,
                         ::testing::ValuesIn(LinearForms().begin(), LinearForms().end()),
                         [](const auto& form) { return NameOf(*form.param); });

}  // namespace
}  // namespace ptq
