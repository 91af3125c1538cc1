// Fused attention against the same graph run node by node.
#include <cmath>
#include <limits>
#include <random>

#include "support/model_builder.h"
#include <gtest/gtest.h>

#include "ptq/runtime/executor.h"

namespace ptq {
namespace {

using testing::GraphBuilder;
using testing::RandomTensor;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// How a graph spells attention out.
struct Spelling {
  int64_t rank = 4;
  bool transpose_keys = true;
  std::string scale = "Div";  ///< Mul, Div or none
  std::string mask = "Add";   ///< Add, Where, AddFirst (mask + scores), two (two Adds) or none
  bool half = false;
  bool guard = false;
};

/// `open`: the scores are an output too, so that nothing can be fused.
GraphBuilder Spell(const Spelling& s, bool open) {
  GraphBuilder b;
  const Shape any(size_t(s.rank), -1);
  b.Input("q", any).Input("k", any).Input("v", any).Input("mask", {-1, -1, -1, -1});
  b.Input("keep", {-1, -1, -1, -1}, DType::kBool).Input("bias", {-1, -1, -1, -1});
  std::string keys = "k";
  if (s.transpose_keys) {
    b.Op("Transpose", {"k"}, "kt").Ints("perm", s.rank == 4 ? Shape{0, 1, 3, 2} : Shape{0, 2, 1});
    keys = "kt";
  }
  b.Weight("factor", Tensor::Scalar(1.7f)).Weight("least", Tensor::Scalar(-65504.0f));
  b.Weight("zero", Tensor::Scalar(0.0f));
  b.Op("MatMul", {"q", keys}, "products");
  std::string at = "products";
  const auto then = [&](const std::string& type, const testing::Names& inputs,
                        const std::string& output) {
    b.Op(type, inputs, output);
    at = output;
  };
  if (s.scale != "none") then(s.scale, {at, "factor"}, "scaled");
  if (s.mask == "Add" || s.mask == "two") then("Add", {at, "mask"}, "masked");
  if (s.mask == "two") then("Add", {at, "bias"}, "biased");
  if (s.mask == "AddFirst") then("Add", {"mask", at}, "masked");
  if (s.mask == "Where") then("Where", {"keep", at, "least"}, "masked");
  b.Op("Softmax", {at}, "probabilities").Int("axis", -1);
  at = "probabilities";
  if (s.guard) {
    b.Op("IsNaN", {at}, "isnan").Op("Where", {"isnan", "zero", at}, "guarded");
    at = "guarded";
  }
  if (s.half) {
    b.Op("Cast", {at}, "half").Int("to", int64_t(DType::kFloat16));
    at = "half";
  }
  b.Op("MatMul", {at, "v"}, "out").Output("out", any);
  if (open) b.Output("products", any);
  return b;
}

struct Sizes {
  int64_t batch, heads, queries, keys, head_size, value_size;
};

struct Inputs {
  Tensor q, k, v, mask, keep, bias;
};

/// `masked`: what stands in the mask above the diagonal.
Inputs MakeInputs(const Spelling& s, const Sizes& n, float masked, float range, uint32_t seed) {
  const auto stack = [&](int64_t rows, int64_t cols) {
    return s.rank == 4 ? Shape{n.batch, n.heads, rows, cols} : Shape{n.batch * n.heads, rows, cols};
  };
  Inputs in;
  in.q = RandomTensor(stack(n.queries, n.head_size), range, seed);
  in.k = RandomTensor(s.transpose_keys ? stack(n.keys, n.head_size) : stack(n.head_size, n.keys),
                      range, seed + 1);
  in.v = RandomTensor(stack(n.keys, n.value_size), 1.0f, seed + 2);
  const Shape plane = s.rank == 4 ? Shape{1, 1, n.queries, n.keys} : Shape{1, n.queries, n.keys};
  in.mask = Tensor::Filled<float>(plane, 0.0f);
  in.keep = Tensor::Filled<bool>(plane, true);
  for (int64_t t = 0; t < n.queries; ++t) {
    for (int64_t key = t + 1; key < n.keys; ++key) {
      in.mask.mutable_data<float>()[size_t(t * n.keys + key)] = masked;
      in.keep.mutable_data<bool>()[size_t(t * n.keys + key)] = false;
    }
  }
  in.bias = RandomTensor(s.rank == 4 ? Shape{1, n.heads, n.queries, n.keys} : plane, 1.0f, seed);
  return in;
}

Tensor Run(const GraphBuilder& builder, const Inputs& in, bool fused) {
  const Model model = builder.Build();
  const Graph graph(model);
  const Executor executor(graph);
  const int product = graph.value(graph.Find("out")).producer;
  EXPECT_EQ(executor.plan().steps()[size_t(product)].inputs.size() > 2, fused);
  Values feeds;
  const auto feed = [&](const char* name, const Tensor& value) { feeds[graph.Find(name)] = value; };
  feed("q", in.q);
  feed("k", in.k);
  feed("v", in.v);
  feed("mask", in.mask);
  feed("keep", in.keep);
  feed("bias", in.bias);
  return executor.RunAll(std::move(feeds)).at(graph.Find("out"));
}

void ExpectSameAsInParts(const Spelling& s, const Inputs& in, float tolerance = 1e-5f) {
  if (s.half) tolerance = 1e-3f;  // a unit of binary16 where probabilities are rounded to it
  const Tensor whole = Run(Spell(s, false), in, true);
  const Tensor parts = Run(Spell(s, true), in, false);
  ASSERT_EQ(whole.shape(), parts.shape());
  const auto x = whole.data<float>();
  const auto y = parts.data<float>();
  for (size_t i = 0; i < x.size(); ++i) {
    if (std::isnan(y[i])) {
      ASSERT_TRUE(std::isnan(x[i])) << i;
    } else {
      ASSERT_NEAR(x[i], y[i], tolerance) << i;
    }
  }
}

TEST(AttentionFusion, GivesWhatTheGraphSpellsOut) {
  uint32_t seed = 17;
  std::mt19937 random(seed);
  const auto size = [&](int64_t most) { return int64_t(random() % uint32_t(most)) + 1; };
  for (const int64_t rank : {3, 4}) {
    for (const bool transpose : {true, false}) {
      for (const char* scale : {"Mul", "Div", "none"}) {
        for (const char* mask : {"Add", "AddFirst", "two", "Where", "none"}) {
          for (const bool half : {false, true}) {
            Spelling s{rank, transpose, scale, mask, half, size(2) == 1};
            const Sizes n{size(3), size(4), size(200), size(200), size(20), size(20)};
            const float masked = size(2) == 1 ? -kInfinity : -65504.0f;
            SCOPED_TRACE(::testing::Message()
                         << "rank " << rank << " transpose " << transpose << " " << scale << " "
                         << mask << " half " << half << " seed " << seed);
            ExpectSameAsInParts(s, MakeInputs(s, n, masked, 1.0f, ++seed));
          }
        }
      }
    }
  }
}

TEST(AttentionFusion, KeepsMaskedKeysThatLargeScoresMakeUpFor) {
  const Spelling s;
  const Sizes n{1, 2, 70, 70, 8, 8};
  // |q||k| reaches some ten thousands: a key at -1000 may still win.
  ExpectSameAsInParts(s, MakeInputs(s, n, -1000.0f, 100.0f, 3), 1e-3f);
}

TEST(AttentionFusion, TreatsQueriesWithoutKeysAsTheGraphDoes) {
  for (const bool guard : {false, true}) {
    for (const char* mask : {"Add", "Where"}) {
      Spelling s;
      s.guard = guard;
      s.mask = mask;
      Inputs in = MakeInputs(s, {2, 2, 5, 9, 4, 4}, -kInfinity, 1.0f, 5);
      for (int64_t key = 0; key < 9; ++key) {
        in.mask.mutable_data<float>()[size_t(2 * 9 + key)] = -kInfinity;
        in.keep.mutable_data<bool>()[size_t(2 * 9 + key)] = false;
      }
      ExpectSameAsInParts(s, in);
    }
  }
}

TEST(AttentionFusion, RunsPartByPartWhatItCannotTake) {
  const Spelling s;
  // One key head for all query heads: the graph broadcasts.
  Inputs in = MakeInputs(s, {2, 3, 7, 7, 4, 4}, -kInfinity, 1.0f, 7);
  in.k = RandomTensor({2, 1, 7, 4}, 1.0f, 8);
  ExpectSameAsInParts(s, in);
}

TEST(AttentionFusion, LeavesLinearsAlone) {
  GraphBuilder b;
  b.Input("x", {-1, 4}).Random("gate", {4, 3}).Random("table", {3, 5});
  b.Op("MatMul", {"x", "gate"}, "logits").Op("Softmax", {"logits"}, "p").Int("axis", -1);
  b.Op("MatMul", {"p", "table"}, "y").Output("y", {-1, 5});
  const Model model = b.Build();
  const Graph graph(model);
  const Executor executor(graph);
  EXPECT_EQ(executor.plan().steps()[2].inputs.size(), 2u);
}

}  // namespace
}  // namespace ptq
