// Mixtures of experts are told by what they compute, however a graph spells them out.
#include <string>

#include "support/planned.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ptq {
namespace {

using testing::GraphBuilder;
using ::testing::HasSubstr;
using testing::Planned;
using ::testing::StartsWith;

constexpr int64_t kExperts = 3, kChosen = 2, kRowWidth = 32, kInnerWidth = 16;
constexpr int64_t kFarEnd = INT64_MAX;

/// What a graph does in another way than a mixture.
struct Spelling {
  bool gathered = false;
  bool normalizes = false;
  std::string activation = "Sigmoid";  ///< x · f(x)
  int64_t missing = -1;                ///< an expert that the loop leaves out
  bool fed_weight = false;             ///< a weight that is an input of the graph
  bool values_first = false;           ///< in the rows of a stack
  bool biased = false;                 ///< the gate of the last expert
  float factor = 1;                    ///< of the chosen experts' weights
  int64_t largest = 1;                 ///< of TopK
  bool sigmoid_scores = false;         ///< in the place of a softmax
  bool second_weights = false;         ///< the chosen experts' weights in the order of the others
};

class MixtureWriter {
 public:
  explicit MixtureWriter(Spelling spelling) : how_(std::move(spelling)) {}

  GraphBuilder Write() {
    b_.Input("x", {-1, -1, kRowWidth}).Output("y", {-1, -1, kRowWidth});
    b_.Random("router.weight", {kRowWidth, kExperts});
    if (how_.fed_weight) b_.Input("fed", {kRowWidth, kInnerWidth});
    const std::string last = Op("Unsqueeze", {Dim("x", 2), Ints({1}, {0})});
    b_.Op("Concat", {Ints({1}, {-1}), last}, "rows_shape").Int("axis", 0);
    b_.Op("Reshape", {"x", "rows_shape"}, "rows");
    b_.Op("MatMul", {"rows", "router.weight"}, "logits", "router");
    Choose();
    const std::string mixed = how_.gathered ? Gathered() : Looped();
    b_.Op("Identity", {mixed}, "mixed");
    // A dense MLP of the same rows, as a shared expert.
    b_.Random("shared.gate.weight", {kRowWidth, kInnerWidth})
        .Random("shared.up.weight", {kRowWidth, kInnerWidth});
    b_.Random("shared.down.weight", {kInnerWidth, kRowWidth});
    const std::string gate = Op("MatMul", {"rows", "shared.gate.weight"});
    const std::string h = Op("Mul", {Activated(gate), Op("MatMul", {"rows", "shared.up.weight"})});
    const std::string all = Op("Add", {"mixed", Op("MatMul", {h, "shared.down.weight"})});
    b_.Op("Reshape", {all, Op("Shape", {"x"})}, "y");
    return b_;
  }

 private:
  std::string Op(const std::string& type, const testing::Names& inputs) {
    std::string name = "v" + std::to_string(++count_);
    b_.Op(type, inputs, name);
    return name;
  }
  std::string Ints(const Shape& shape, const std::vector<int64_t>& values) {
    std::string name = "c" + std::to_string(++count_);
    b_.Weight(name, Tensor::From<int64_t>(shape, std::span<const int64_t>(values)));
    return name;
  }
  std::string Dim(const std::string& value, int64_t axis) {
    return Op("Gather", {Op("Shape", {value}), Ints({}, {axis})});
  }
  std::string Activated(const std::string& x) { return Op("Mul", {x, Op(how_.activation, {x})}); }

  void Choose() {
    const std::string scores = Op(how_.sigmoid_scores ? "Sigmoid" : "Softmax", {"logits"});
    b_.Op("TopK", {scores, Ints({1}, {kChosen})}, "top").Int("largest", how_.largest);
    b_.last().add_output("numbers");
    weights_ = "top";
    if (how_.second_weights) {
      b_.Op("Slice",
            {"top", Ints({1}, {-1}), Ints({1}, {-kFarEnd}), Ints({1}, {1}), Ints({1}, {-1})},
            "turned");
      weights_ = "turned";
    }
    if (how_.normalizes) {
      const std::string sum = Op("ReduceSum", {weights_, Ints({1}, {-1})});
      weights_ = Op("Div", {weights_, sum});
    }
    if (how_.factor != 1) {
      b_.Weight("factor", Tensor::Scalar(how_.factor));
      weights_ = Op("Mul", {weights_, "factor"});
    }
  }

  std::string Product(const std::string& x, const std::string& name, int64_t k, int64_t n) {
    if (how_.fed_weight && name == "experts.1.gate") return Op("MatMul", {x, "fed"});
    b_.Random(name + ".weight", {k, n});
    return Op("MatMul", {x, name + ".weight"});
  }

  std::string Expert(int64_t e, const std::string& x) {
    const std::string prefix = "experts." + std::to_string(e) + ".";
    // The values stand in front of the gate: what they are must not follow from the order.
    const std::string value = Product(x, prefix + "up", kRowWidth, kInnerWidth);
    std::string gate = Product(x, prefix + "gate", kRowWidth, kInnerWidth);
    if (how_.biased && e + 1 == kExperts) {
      b_.Random("bias", {kInnerWidth});
      gate = Op("Add", {gate, "bias"});
    }
    return Product(Op("Mul", {Activated(gate), value}), prefix + "down", kInnerWidth, kRowWidth);
  }

  /// As the loop of transformers 4 is traced.
  std::string Looped() {
    b_.Weight("ends", Tensor::From<int64_t>({2}, {0, 1}));
    const std::string hot = Op("OneHot", {"numbers", Ints({}, {kExperts}), "ends"});
    const std::string places = Op("Transpose", {hot});
    b_.Ints("perm", {2, 1, 0});
    const std::string flat = Op("Reshape", {weights_, Ints({2}, {-1, 1})});
    std::string sum = Op("ConstantOfShape", {Op("Shape", {"rows"})});
    for (int64_t e = 0; e < kExperts; ++e) {
      if (e == how_.missing) continue;
      const std::string chosen = Op("Gather", {places, Ints({}, {e})});
      b_.Op("Split", {Op("NonZero", {chosen})}, "slot" + std::to_string(e)).Int("axis", 0);
      const std::string token = "token" + std::to_string(e);
      b_.last().add_output(token);
      const std::string slots = Op("Squeeze", {"slot" + std::to_string(e), Ints({1}, {0})});
      const std::string tokens = Op("Squeeze", {token, Ints({1}, {0})});
      const std::string y = Expert(e, Op("Gather", {"rows", tokens}));
      const std::string pairs = Op("Add", {slots, Op("Mul", {tokens, Ints({}, {kChosen})})});
      const std::string weighted = Op("Mul", {y, Op("Gather", {flat, pairs})});
      const std::string column = Op("Unsqueeze", {tokens, Ints({1}, {1})});
      const std::string index = Op("Expand", {column, Op("Shape", {weighted})});
      const std::string zeros = Op("ConstantOfShape", {Op("Shape", {sum})});
      const std::string added = Op("ScatterElements", {zeros, index, weighted});
      sum = Op("Add", {sum, added});
    }
    return sum;
  }

  /// As the experts of transformers 5, whose matrices are picked for each token.
  std::string Gathered() {
    b_.Random("experts.gate_up", {kExperts, 2 * kInnerWidth, kRowWidth});
    b_.Random("experts.down", {kExperts, kRowWidth, kInnerWidth});
    const std::string repeated =
        Op("Tile", {Op("Unsqueeze", {"rows", Ints({1}, {1})}), Ints({3}, {1, kChosen, 1})});
    const std::string x = Op("Reshape", {repeated, Ints({3}, {-1, kRowWidth, 1})});
    const std::string index = Op("Reshape", {"numbers", Ints({1}, {-1})});
    const std::string first = Op("MatMul", {Op("Gather", {"experts.gate_up", index}), x});
    const std::string both = Op("Squeeze", {first, Ints({1}, {2})});
    const auto half = [&](int64_t begin) {
      return Op("Slice",
                {both, Ints({1}, {begin}), Ints({1}, {begin + kInnerWidth}), Ints({1}, {-1})});
    };
    const std::string gate = half(how_.values_first ? kInnerWidth : 0);
    const std::string h = Op("Mul", {Activated(gate), half(how_.values_first ? 0 : kInnerWidth)});
    const std::string column = Op("Unsqueeze", {h, Ints({1}, {-1})});
    const std::string second = Op("MatMul", {Op("Gather", {"experts.down", index}), column});
    const std::string y = Op("Squeeze", {second, Ints({1}, {2})});
    const std::string weighted = Op("Mul", {y, Op("Reshape", {weights_, Ints({2}, {-1, 1})})});
    const std::string apart = Op("Reshape", {weighted, Ints({3}, {-1, kChosen, kRowWidth})});
    std::string sum = Op("ReduceSum", {apart, Ints({1}, {1})});
    b_.Int("keepdims", 0);
    return sum;
  }

  const Spelling how_;
  GraphBuilder b_{17};
  int count_ = 0;
  std::string weights_;
};

GraphBuilder Spelled(const Spelling& spelling) { return MixtureWriter(spelling).Write(); }

/// Codes in a node for all experts, and in one for each product.
class TogetherForm : public Form {
 public:
  [[nodiscard]] std::string_view name() const override { return "together"; }
  [[nodiscard]] Storage storage() const override { return Storage::kCodes; }
  [[nodiscard]] std::string Refusal(const TensorFacts& /*tensor*/,
                                    const FormParameters& /*parameters*/) const override {
    return "";
  }
  [[nodiscard]] std::string_view ForMixtures() const override { return name(); }
  [[nodiscard]] int64_t Bytes(const TensorFacts& tensor,
                              const FormParameters& /*parameters*/) const override {
    return tensor.n * tensor.k;
  }
};

class FoundMixtures : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Spellings, FoundMixtures, ::testing::Bool(), [](const auto& gathered) {
  return gathered.param ? "Gathered" : "Looped";
});

TEST_P(FoundMixtures, AreFoundWithWhatTheyReadAndGive) {
  for (const bool normalizes : {false, true}) {
    Spelling spelling;
    spelling.gathered = GetParam();
    spelling.normalizes = normalizes;
    const Planned planned(Spelled(spelling));
    ASSERT_EQ(planned.plan.mixtures.size(), 1U);
    const auto& mixture = planned.plan.mixtures.front();
    EXPECT_EQ(mixture.name, "experts");
    EXPECT_EQ(planned.graph.value(mixture.rows).name, "rows");
    EXPECT_EQ(planned.graph.value(mixture.logits).name, "logits");
    const Value& output = planned.graph.value(mixture.output);
    ASSERT_EQ(output.uses.size(), 1U);
    EXPECT_EQ(planned.graph.nodes()[size_t(output.uses.front().node)].output(0), "mixed");
    EXPECT_EQ(mixture.experts, kExperts);
    EXPECT_EQ(mixture.chosen, kChosen);
    EXPECT_EQ(mixture.normalizes, normalizes);
    EXPECT_EQ(mixture.gathered, GetParam());
    EXPECT_EQ(mixture.members.size(), GetParam() ? 2U : 3U * kExperts);
    for (const auto& [index, place] : mixture.members) {
      const Linear& linear = planned.plan.linears[size_t(index)];
      EXPECT_FALSE(linear.IsExpert()) << "nobody asked for a node of all";
      EXPECT_EQ(linear.name.ends_with("down"), place.part == ExpertPart::kDown);
      EXPECT_EQ(linear.name.ends_with("gate"), place.part == ExpertPart::kGate);
      EXPECT_EQ(linear.name.ends_with("gate_up"), place.part == ExpertPart::kBoth);
      if (GetParam()) continue;
      EXPECT_THAT(linear.name, StartsWith("experts." + std::to_string(place.expert)));
    }
  }
}

struct NearMiss {
  const char* name;
  void (*change)(Spelling& spelling);
};
class NearMisses : public ::testing::TestWithParam<NearMiss> {};
INSTANTIATE_TEST_SUITE_P(
    All, NearMisses,
    ::testing::Values(
        NearMiss{"AnotherActivation", [](Spelling& s) { s.activation = "Tanh"; }},
        NearMiss{"NoActivationToSpeakOf", [](Spelling& s) { s.activation = "Identity"; }},
        NearMiss{"AMissingExpert", [](Spelling& s) { s.missing = 1; }},
        NearMiss{"AMissingLastExpert", [](Spelling& s) { s.missing = kExperts - 1; }},
        NearMiss{"AWeightThatIsFed", [](Spelling& s) { s.fed_weight = true; }},
        NearMiss{"ABiasOfOneExpert", [](Spelling& s) { s.biased = true; }},
        NearMiss{"AFactorOfTheWeights", [](Spelling& s) { s.factor = 1.01F; }},
        NearMiss{"TheSmallestScores", [](Spelling& s) { s.largest = 0; }},
        NearMiss{"SigmoidScores", [](Spelling& s) { s.sigmoid_scores = true; }},
        NearMiss{"WeightsInAnotherOrder", [](Spelling& s) { s.second_weights = true; }},
        NearMiss{"GatheredAnotherActivation",
                 [](Spelling& s) {
                   s.gathered = true;
                   s.activation = "Relu";
                 }},
        NearMiss{"GatheredValuesAboveTheGate",
                 [](Spelling& s) {
                   s.gathered = true;
                   s.values_first = true;
                 }},
        NearMiss{"GatheredFactorOfTheWeights",
                 [](Spelling& s) {
                   s.gathered = true;
                   s.factor = 2.5F;
                 }}),
    [](const auto& miss) { return miss.param.name; });

TEST_P(NearMisses, StayLinearsOfTheirOwn) {
  Spelling spelling;
  GetParam().change(spelling);
  const Planned planned(Spelled(spelling));
  EXPECT_TRUE(planned.plan.mixtures.empty());
  EXPECT_TRUE(
      planned.Find(spelling.gathered ? "experts.down" : "experts.0.down").decision.quantizes());
}

TEST_P(FoundMixtures, HaveOneNodeWhereTheirFormHasOne) {
  Spelling spelling;
  spelling.gathered = GetParam();
  const TogetherForm form;
  PlanOptions options;
  options.codes = &form;
  const Planned planned(Spelled(spelling), options);
  for (const Linear& linear : planned.plan.linears) {
    EXPECT_EQ(linear.IsExpert(), linear.name.starts_with("experts.")) << linear.name;
    EXPECT_EQ(linear.place.mixture, linear.IsExpert() ? 0 : -1);
  }
  for (const Site& site : planned.plan.sites) {
    const Linear& first = planned.plan.linears[size_t(site.linears.front())];
    EXPECT_FALSE(first.IsExpert() && site.scaling_allowed);
  }
}

TEST_P(FoundMixtures, StaySingleLinearsWhenOneOfThemIsToBeAnother) {
  Spelling spelling;
  spelling.gathered = GetParam();
  const TogetherForm form;
  PlanOptions options;
  options.codes = &form;
  Rule rule;
  rule.pattern = GetParam() ? "experts.down" : "experts.1.down";
  rule.bits = 8;
  options.rules = {rule};
  const Planned planned(Spelled(spelling), options);
  for (const Linear& linear : planned.plan.linears) {
    EXPECT_FALSE(linear.IsExpert()) << linear.name;
    if (!linear.name.starts_with("experts.")) continue;
    EXPECT_TRUE(linear.decision.quantizes());
    EXPECT_EQ(linear.spec().bits, linear.name == rule.pattern ? 8 : 4);
    EXPECT_THAT(linear.decision.reason, HasSubstr("would differ"));
  }
}

}  // namespace
}  // namespace ptq
