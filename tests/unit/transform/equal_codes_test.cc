// Which linears are found to have the codes of an earlier one.
#include "ptq/transform/equal_codes.h"

#include <algorithm>
#include <string>
#include <utility>

#include "support/planned.h"
#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ptq {
namespace {

using ::testing::ElementsAre;
using testing::GraphBuilder;
using testing::Planned;
using testing::RandomTensor;
using testing::TempDirectory;

constexpr int64_t kWidth = 64;

/// x · first · second · …, one product for each name of an initializer; a name may come again.
GraphBuilder Chain(const std::vector<std::pair<std::string, Tensor>>& weights,
                   const std::vector<std::string>& products) {
  GraphBuilder b;
  b.Input("x", {3, kWidth});
  for (const auto& [name, weight] : weights) b.Weight(name, weight);
  std::string value = "x";
  for (const std::string& product : products) {
    const std::string next = "y" + std::to_string(b.graph().node_size());
    b.Op("MatMul", {value, product}, next, product + "_" + next);
    value = next;
  }
  return b.Output(value, {3, kWidth});
}

Tensor Weight(uint32_t seed, Shape shape = {kWidth, kWidth}) {
  return RandomTensor(std::move(shape), 0.5F, seed);
}

/// The same, but for one element.
Tensor ChangedAt(Tensor weight, size_t element) {
  weight.mutable_data<float>()[element] += 1;
  return weight;
}

/// Without a head, which would be FP16.
PlanOptions Codes(std::vector<Rule> rules = {}) {
  PlanOptions options;
  options.head = Precision::kKeep;
  options.rules = std::move(rules);
  return options;
}

Rule RuleFor(const std::string& pattern) {
  Rule rule;
  rule.pattern = pattern;
  return rule;
}

std::vector<int> Firsts(const GraphBuilder& builder, bool by_bytes, const PlanOptions& options) {
  const Planned planned(builder, options);
  return FirstWithEqualCodes(planned.graph, planned.plan, by_bytes);
}

TEST(FirstWithEqualCodes, IsEachLinearItselfWhereWeightsDiffer) {
  const auto chain = Chain({{"a", Weight(1)}, {"b", Weight(2)}, {"c", Weight(3)}}, {"a", "b", "c"});
  for (const bool by_bytes : {false, true}) {
    EXPECT_THAT(Firsts(chain, by_bytes, Codes()), ElementsAre(0, 1, 2));
  }
}

TEST(FirstWithEqualCodes, IsTheFirstOfThoseThatReadOneWeight) {
  const auto chain = Chain({{"a", Weight(1)}, {"b", Weight(2)}}, {"b", "a", "b", "a", "b"});
  for (const bool by_bytes : {false, true}) {
    EXPECT_THAT(Firsts(chain, by_bytes, Codes()), ElementsAre(0, 1, 0, 1, 0));
  }
}

TEST(FirstWithEqualCodes, LooksAtBytesWhereNothingElseDecides) {
  const auto chain = Chain({{"a", Weight(1)}, {"b", Weight(2)}, {"c", Weight(1)}, {"d", Weight(1)}},
                           {"a", "b", "c", "d"});
  EXPECT_THAT(Firsts(chain, /*by_bytes=*/true, Codes()), ElementsAre(0, 1, 0, 0));
  EXPECT_THAT(Firsts(chain, /*by_bytes=*/false, Codes()), ElementsAre(0, 1, 2, 3));
}

TEST(FirstWithEqualCodes, ComparesWeightsAsAWhole) {
  // Each differs from the first in one element, at the ends, in the middle, or between them.
  std::vector<std::pair<std::string, Tensor>> weights = {{"a", Weight(1)}, {"same", Weight(1)}};
  std::vector<std::string> products = {"a", "same"};
  std::vector<int> expected = {0, 0};
  for (const size_t element : {size_t{0}, size_t{1000}, size_t(kWidth * kWidth / 2), size_t{3000},
                               size_t(kWidth * kWidth - 1)}) {
    products.push_back("changed" + std::to_string(element));
    weights.emplace_back(products.back(), ChangedAt(Weight(1), element));
    expected.push_back(int(expected.size()));
  }
  EXPECT_EQ(Firsts(Chain(weights, products), /*by_bytes=*/true, Codes()), expected);
}

TEST(FirstWithEqualCodes, ComparesSmallWeightsToo) {
  const auto chain = Chain({{"in", Weight(9, {kWidth, 8})},
                            {"a", Weight(1, {8, 8})},
                            {"b", ChangedAt(Weight(1, {8, 8}), 63)},
                            {"c", Weight(1, {8, 8})},
                            {"out", Weight(9, {8, kWidth})}},
                           {"in", "a", "b", "c", "out"});
  // The bytes of the first are those of the last, too, in another shape.
  EXPECT_THAT(Firsts(chain, /*by_bytes=*/true, Codes()), ElementsAre(0, 1, 2, 1, 4));
}

TEST(FirstWithEqualCodes, AreOfOneKind) {
  const auto chain = Chain({{"a", Weight(1)}, {"b", Weight(1)}, {"c", Weight(1)}}, {"a", "b", "c"});
  const auto of_last = [&](auto change) {
    Rule rule = RuleFor("c_y2");
    change(rule);
    return Firsts(chain, /*by_bytes=*/true, Codes({rule}));
  };
  EXPECT_THAT(of_last([](Rule& rule) { rule.bits = 8; }), ElementsAre(0, 0, 2));
  EXPECT_THAT(of_last([](Rule& rule) { rule.group_size = 16; }), ElementsAre(0, 0, 2));
  EXPECT_THAT(of_last([](Rule& rule) { rule.symmetric = false; }), ElementsAre(0, 0, 2));
  EXPECT_THAT(of_last([](Rule& rule) { rule.grid = "search"; }), ElementsAre(0, 0, 2));
  EXPECT_THAT(of_last([](Rule& rule) { rule.rounding = "gptq"; }), ElementsAre(0, 0, 2));
  EXPECT_THAT(of_last([](Rule& rule) { rule.accuracy_level = 1; }), ElementsAre(0, 0, 0))
      << "codes are the same, however they are multiplied";
}

TEST(FirstWithEqualCodes, LinearsWithoutCodesOfTheirOwnAreLeftOut) {
  const auto chain = Chain({{"a", Weight(1)}}, {"a", "a", "a", "a"});
  Rule kept = RuleFor("a_y0");
  kept.form = "keep";
  Planned planned(chain, Codes({kept}));
  ASSERT_TRUE(planned.plan.linears[0].decision.keeps());
  EXPECT_THAT(FirstWithEqualCodes(planned.graph, planned.plan, true), ElementsAre(0, 1, 1, 1));
  planned.plan.linears[1].table = 0;
  EXPECT_THAT(FirstWithEqualCodes(planned.graph, planned.plan, true), ElementsAre(0, 1, 2, 2));
}

TEST(FirstWithEqualCodes, ReadsTheDataFile) {
  auto chain = Chain({{"a", Weight(1)}, {"b", Weight(2)}, {"c", Weight(1)}}, {"a", "b", "c"});
  const TempDirectory directory;
  std::string data(100, '\1');
  for (auto& tensor : *chain.graph().mutable_initializer()) {
    for (const auto& [key, value] : {std::pair<std::string, std::string>{"location", "weights.bin"},
                                     {"offset", std::to_string(data.size())}}) {
      auto* entry = tensor.add_external_data();
      entry->set_key(key);
      entry->set_value(value);
    }
    auto* length = tensor.add_external_data();
    length->set_key("length");
    length->set_value(std::to_string(tensor.raw_data().size()));
    data += tensor.raw_data();
    tensor.clear_raw_data();
    tensor.set_data_location(onnx::TensorProto::EXTERNAL);
  }
  directory.Write("weights.bin", data);
  const Model model = Model::Load(directory.Write("model.onnx", chain.Bytes()));
  const Graph graph(model);
  const ExecutionPlan execution(graph);
  const Plan plan = MakePlan(execution, Codes());
  EXPECT_THAT(FirstWithEqualCodes(graph, plan, true), ElementsAre(0, 1, 0));
}

TEST(FirstWithEqualCodes, ElementsInTypedFieldsAreNoBytes) {
  auto chain = Chain({{"a", Weight(1)}, {"c", Weight(1)}}, {"a", "c"});
  auto& tensor = *chain.graph().mutable_initializer(1);
  const Tensor values = Weight(1);
  for (const float value : values.data<float>()) tensor.add_float_data(value);
  tensor.clear_raw_data();
  EXPECT_THAT(Firsts(chain, /*by_bytes=*/true, Codes()), ElementsAre(0, 1));
}

}  // namespace
}  // namespace ptq
