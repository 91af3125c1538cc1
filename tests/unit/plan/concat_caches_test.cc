// Which caches of a graph that concatenates them are found, where their scales go, what is refused.
#include "caches/concat_caches.h"

#include "caches/key_rotation.h"
#include "support/model_builder.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;
using testing::GraphBuilder;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int64_t kHeads = 2;
constexpr int64_t kSize = 4;

struct Attending {
  int64_t axis = 2;
  int64_t groups = 1;       ///< heads of queries for each of the keys
  bool merges = true;       ///< groups are heads of the products, not an axis of their own
  bool rotary = false;      ///< x · cos + Concat(−x₂, x₁) · sin
  bool sine = false;        ///< keys are multiplied by a sine in another way
  bool flat = false;        ///< keys are [batch · heads, size, tokens] in their product
  std::string reader = {};  ///< of another node that reads the present keys
  DType dtype = DType::kFloat32;
};

Tensor Shapes(const std::vector<int64_t>& values) {
  return Tensor::From<int64_t>({std::ssize(values)}, values);
}

/// Heads of keys or values, each for several of the queries.
std::string Repeated(GraphBuilder& b, const Attending& of, const std::string& name) {
  if (of.groups == 1) return name;
  b.Op("Unsqueeze", {name, "two"}, name + ".5d");
  b.Op("Concat", {"batch", "heads", "groups", "length", "size"}, name + ".target").Int("axis", 0);
  b.Op("Expand", {name + ".5d", name + ".target"}, name + ".expanded");
  if (!of.merges) return name + ".expanded";
  b.Weight(name + ".4d", Shapes({1, kHeads * of.groups, -1, kSize}));
  b.Op("Reshape", {name + ".expanded", name + ".4d"}, name + ".repeated");
  return name + ".repeated";
}

std::string NewKeys(GraphBuilder& b, const Attending& of) {
  if (of.sine) {
    b.Op("Sin", {"angles"}, "sin").Op("Mul", {"k", "sin"}, "k.turned");
    return "k.turned";
  }
  if (!of.rotary) return "k";
  b.Op("Sin", {"angles"}, "sin").Op("Cos", {"angles"}, "cos");
  b.Op("Neg", {"k2"}, "k2.neg").Op("Concat", {"k2.neg", "k1"}, "k.half").Int("axis", 3);
  b.Op("Mul", {"k", "cos"}, "k.cos").Op("Mul", {"k.half", "sin"}, "k.sin");
  b.Op("Add", {"k.cos", "k.sin"}, "k.turned");
  return "k.turned";
}

/// Queries by present keys, and what is made of them by present values.
GraphBuilder BuilderOf(const Attending& of) {
  GraphBuilder b;
  const int64_t heads = kHeads * of.groups;
  b.Input("q", {1, heads, -1, kSize}).Input("k", {1, kHeads, -1, kSize});
  b.Input("k1", {1, kHeads, -1, kSize / 2}).Input("k2", {1, kHeads, -1, kSize / 2});
  b.Input("v", {1, kHeads, -1, kSize}).Input("angles", {-1, kSize});
  b.Input("batch", {1}, DType::kInt64).Input("length", {1}, DType::kInt64);
  b.Input("past_key_values.0.key", {1, kHeads, -1, kSize}, of.dtype);
  b.Input("past_key_values.0.value", {1, kHeads, -1, kSize}, of.dtype);
  b.Weight("two", Shapes({2})).Weight("heads", Shapes({kHeads})).Weight("size", Shapes({kSize}));
  b.Weight("groups", Shapes({of.groups})).Weight("three", Shapes({-1, kSize, 1}));
  const std::string keys = NewKeys(b, of);
  b.Op("Concat", {"past_key_values.0.key", keys}, "present.0.key").Int("axis", of.axis);
  b.Op("Concat", {"past_key_values.0.value", "v"}, "present.0.value").Int("axis", -2);
  const std::string k = Repeated(b, of, "present.0.key");
  const bool five = of.groups > 1 && !of.merges;
  b.Op("Transpose", {k}, "kt").Ints("perm", five ? Shape{0, 1, 2, 4, 3} : Shape{0, 1, 3, 2});
  if (of.flat) b.Op("Reshape", {"kt", "three"}, "kt.flat");
  b.Op("MatMul", {"q", of.flat ? "kt.flat" : "kt"}, "scores", "scores");
  b.Op("Softmax", {"scores"}, "p");
  b.Op("MatMul", {"p", Repeated(b, of, "present.0.value")}, "y", "mix");
  if (!of.reader.empty()) {
    b.Op(of.reader, {"present.0.key"}, "other", "other").Output("other", {});
  }
  b.Output("y", {1, heads, -1, kSize}).Output("present.0.key", {1, kHeads, -1, kSize});
  b.Output("present.0.value", {1, kHeads, -1, kSize});
  return b;
}

std::vector<Cache> FoundIn(const Attending& of, const CacheCodes& codes = {}) {
  const Model model = BuilderOf(of).Build();
  return FindConcatCaches(Graph(model), codes);
}

std::string RefusalOf(const Attending& of, const CacheCodes& codes = {}) {
  try {
    (void)FoundIn(of, codes);
  } catch (const UnsupportedError& error) {
    return error.what();
  }
  return "";
}

TEST(ConcatCaches, FindsKeysAndValuesByTheirProducts) {
  const std::vector<Cache> found = FoundIn({});
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].name, "present.0.key");
  EXPECT_TRUE(found[0].keys);
  EXPECT_FALSE(found[1].keys);
  for (const Cache& cache : found) {
    EXPECT_EQ(cache.heads, kHeads);
    EXPECT_EQ(cache.head_size, kSize);
    ASSERT_EQ(cache.rows.size(), 1U);
    EXPECT_TRUE(cache.rows[0].concatenated);
    ASSERT_EQ(cache.rows[0].products.size(), 1U);
    EXPECT_THAT(cache.rows[0].products[0].by_head, ElementsAre(1, kHeads, 1, kSize));
    EXPECT_EQ(cache.rows[0].products[0].repeats, 1);
  }
}

TEST(ConcatCaches, KnowsHeadsThatAreRepeated) {
  for (const Cache& cache : FoundIn({.groups = 3})) {
    const CacheProduct& product = cache.rows[0].products.at(0);
    EXPECT_THAT(product.by_head, ElementsAre(1, 3 * kHeads, 1, kSize));
    EXPECT_EQ(product.repeats, 3);
  }
  for (const Cache& cache : FoundIn({.groups = 3, .merges = false})) {
    const CacheProduct& product = cache.rows[0].products.at(0);
    EXPECT_THAT(product.by_head, ElementsAre(1, kHeads, 1, 1, kSize));
    EXPECT_EQ(product.repeats, 1);
  }
}

TEST(ConcatCaches, KnowsWhetherKeysTurn) {
  EXPECT_EQ(FoundIn({})[0].rotated, 0);
  EXPECT_EQ(FoundIn({.rotary = true})[0].rotated, kSize);
  EXPECT_EQ(FoundIn({.rotary = true})[1].rotated, 0);
  EXPECT_THAT(RefusalOf({.sine = true}), HasSubstr("turn with the position in a way that is not"));
  EXPECT_EQ(FoundIn({.sine = true}, {8, false})[0].rotated, 0);
}

TEST(ConcatCaches, OneScaleNeedsNoHeads) {
  EXPECT_THAT(RefusalOf({.flat = true}), HasSubstr("where its heads are at node 'scores'"));
  const std::vector<Cache> found = FoundIn({.flat = true}, {8, false});
  EXPECT_TRUE(found[0].keys) << "by its name";
  EXPECT_THAT(found[0].rows[0].products.at(0).by_head, IsEmpty());
}

TEST(ConcatCaches, ShapesMayBeAskedForByAnybody) {
  EXPECT_EQ(FoundIn({.reader = "Shape"}).size(), 2U);
}

TEST(ConcatCaches, RefusesWhatNoScalePassesThrough) {
  EXPECT_THAT(RefusalOf({.reader = "Relu"}), HasSubstr("node 'other' (Relu) reads it in a way"));
  EXPECT_THAT(RefusalOf({.axis = 1}), HasSubstr("does not only put new rows behind it"));
  EXPECT_THAT(RefusalOf({}, {4, true}),
              HasSubstr("there is no form of 4 bits for that; take int8"));
  EXPECT_THAT(RefusalOf({.dtype = DType::kInt8}), HasSubstr("it is quantized already"));
}

TEST(ConcatCaches, ThereAreNoneWithoutInputsOfPastRows) {
  const Model model = testing::ToyDecoder(1).Build();
  EXPECT_THAT(FindConcatCaches(Graph(model), {}), IsEmpty());
}

}  // namespace
}  // namespace ptq
