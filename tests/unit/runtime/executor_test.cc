// Constants, branches, bodies, taps and overrides while a plan runs.
#include "ptq/runtime/executor.h"

#include <algorithm>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "support/model_builder.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;
using testing::GraphBuilder;

/// A model with all that runs it.
struct Runnable {
  explicit Runnable(const GraphBuilder& builder)
      : model(builder.Build()), graph(model), executor(graph) {}
  [[nodiscard]] Tensor Run(const std::string& output, Values inputs,
                           const Values& overrides = {}) const {
    return executor.RunAll(std::move(inputs), overrides).at(graph.Find(output));
  }
  Model model;
  Graph graph;
  Executor executor;
};

Tensor Ids() { return Tensor::From<int64_t>({2, 3}, {5, 17, 95, 0, 42, 5}); }

TEST(Executor, FoldsConstantsAndWidensThem) {
  GraphBuilder b;
  b.Weight("w", Tensor::From<float>({2, 1}, {1.5f, -2}).Cast(DType::kFloat16));
  b.Op("Transpose", {"w"}, "wt").Input("x", {1, 2}).Op("Mul", {"x", "wt"}, "y");
  const Runnable run(b.Output("y", {1, 2}));
  const Tensor folded = run.executor.LoadConstant(run.graph.Find("wt"));
  EXPECT_EQ(folded.shape(), (Shape{1, 2}));
  EXPECT_THAT(folded.data<float>(), ElementsAre(1.5f, -2));
}

TEST(Executor, KeepsAnInputThatIsUsedLater) {
  GraphBuilder b;
  b.Input("x", {3}).Op("Relu", {"x"}, "a").Op("Exp", {"a"}, "e").Op("Neg", {"a"}, "n");
  b.Op("Add", {"e", "n"}, "s").Op("Add", {"s", "a"}, "t").Op("Add", {"t", "x"}, "y");
  b.Output("y", {3}).Output("a", {3});
  const Runnable run(b);
  const Tensor x = Tensor::From<float>({3}, {0, -1, -2});
  const Values out = run.executor.RunAll({{run.graph.Find("x"), x}});
  EXPECT_THAT(out.at(run.graph.Find("y")).data<float>(), ElementsAre(1, 0, -1));
  EXPECT_THAT(out.at(run.graph.Find("a")).data<float>(), ElementsAre(0, 0, 0));
  EXPECT_THAT(x.data<float>(), ElementsAre(0, -1, -2));
}

TEST(Executor, RoundsValuesToHalfWhereItIsTold) {
  GraphBuilder b;
  b.Input("x", {3}).Weight("w", Tensor::From<float>({3}, {1, 256, 1}));
  b.Op("Mul", {"x", "w"}, "a").Op("Add", {"a", "a"}, "y").Output("y", {3});
  Runnable run(b);
  const Tensor x = Tensor::From<float>({3}, {1.0f + 0x1p-12f, 300, -2});
  const auto outputs = [&] {
    const Tensor y = run.Run("y", {{run.graph.Find("x"), x}});
    return std::vector<float>(y.data<float>().begin(), y.data<float>().end());
  };
  EXPECT_THAT(outputs(), ElementsAre(2 + 0x1p-11f, 153600, -4));
  run.executor.RoundToHalf({run.graph.Find("a")});
  // What a runtime in FP16 would show: digits are lost, and 76800 is too large.
  EXPECT_THAT(outputs(), ElementsAre(2, std::numeric_limits<float>::infinity(), -4));
}

TEST(Executor, DoesNotWriteIntoWeights) {
  GraphBuilder b;
  b.Weight("w", Tensor::From<float>({2}, {1, -1})).Input("x", {2});
  b.Op("Add", {"w", "x"}, "y").Output("y", {2});
  const Runnable run(b);
  const Values x = {{run.graph.Find("x"), Tensor::From<float>({2}, {1, 1})}};
  EXPECT_THAT(run.Run("y", x).data<float>(), ElementsAre(2, 0));
  EXPECT_THAT(run.Run("y", x).data<float>(), ElementsAre(2, 0));
}

TEST(Executor, RunsTheBranchThatTheConditionPicks) {
  GraphBuilder b;
  b.Input("flag", {}, DType::kBool).Input("x", {2});
  b.Op("Neg", {"x"}, "m").Weight("w", Tensor::From<float>({2}, {10, 20}));
  b.Op("If", {"flag"}, "y").Output("y", {2});
  const auto branch = [&](const std::string& name, const std::string& type) {
    auto& body = *testing::AddAttribute(b.last(), name, onnx::AttributeProto::GRAPH).mutable_g();
    testing::FillNode(*body.add_node(), type, {"m", "w"}, {name + "_out"});
    body.add_output()->set_name(name + "_out");
  };
  branch("then_branch", "Add");
  branch("else_branch", "Mul");
  const Runnable run(b);
  const auto result = [&](bool flag) {
    return run.Run("y", {{run.graph.Find("flag"), Tensor::Scalar(flag)},
                         {run.graph.Find("x"), Tensor::From<float>({2}, {1, -2})}});
  };
  EXPECT_THAT(result(true).data<float>(), ElementsAre(9, 22));
  EXPECT_THAT(result(false).data<float>(), ElementsAre(-10, 40));
}

/// y = If(flag) of two branches that multiply twice by weights, `shared` or their own; opset 17.
GraphBuilder TwoProducts(bool shared) {
  GraphBuilder b;
  b.Input("flag", {1}, DType::kBool).Input("x", {-1, 16});
  b.Op("If", {"flag"}, "y").Output("y", {-1, 16});
  for (const std::string name : {"then", "else"}) {
    auto& body =
        *testing::AddAttribute(b.last(), name + "_branch", onnx::AttributeProto::GRAPH).mutable_g();
    const std::string own = shared ? "both" : name;
    testing::FillNode(*body.add_node(), "MatMul", {"x", own + ".0"}, {"h"});
    testing::FillNode(*body.add_node(), name == "then" ? "Tanh" : "Sigmoid", {"h"}, {"a"});
    testing::FillNode(*body.add_node(), "MatMul", {"a", own + ".1"}, {"out"});
    body.add_output()->set_name("out");
  }
  for (const std::string name : {"both", "then", "else"}) {
    for (const char* number : {".0", ".1"}) b.Random(name + number, {16, 16});
  }
  return b;
}

TEST(Executor, TapsOnlyTheBranchThatRuns) {
  const Runnable run(TwoProducts(false));
  Segment whole;
  whole.end = static_cast<int>(run.executor.plan().steps().size());
  std::vector<ValueId> sites;
  for (const Node& node : run.graph.nodes()) {
    if (node.op_type() == "Tanh" || node.op_type() == "Sigmoid") {
      sites.push_back(run.graph.Find(node.output(0)));
    }
  }
  ASSERT_EQ(sites.size(), 2u);
  const Job job = run.executor.MakeJob(whole, {run.graph.Find("y")}, sites);
  for (const bool flag : {true, false}) {
    std::vector<ValueId> seen;
    const Values out =
        run.executor.Run(job, run.executor.LoadConstants(job),
                         {{run.graph.Find("flag"), Tensor::From<bool>({1}, {flag})},
                          {run.graph.Find("x"), testing::RandomTensor({2, 16}, 1.0f, 3)}},
                         [&](ValueId id, const Tensor&) { seen.push_back(id); });
    EXPECT_THAT(seen, ElementsAre(sites[flag ? 0 : 1]));
    EXPECT_EQ(out.at(run.graph.Find("y")).shape(), (Shape{2, 16}));
  }
}

TEST(Executor, KeepsTheProductsOfOneWeightInBothBranchesInOneSegment) {
  const Runnable run(TwoProducts(true));
  const auto& nodes = run.graph.nodes();
  std::map<ValueId, std::set<size_t>> segments;
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (nodes[i].op_type() != "MatMul") continue;
    const ValueId out = run.graph.outputs(int(i))[0];
    segments[run.graph.inputs(int(i))[1]].insert(run.executor.plan().SegmentOf(out));
  }
  ASSERT_EQ(segments.size(), 2u);
  for (const auto& [weight, in] : segments) EXPECT_EQ(in.size(), 1u);
}

/// y = the last of `trips` states h = Tanh(h · w), all = every state.
GraphBuilder Recurrence() {
  GraphBuilder b;
  b.Input("trips", {}, DType::kInt64).Input("x", {-1, 16}).Random("w", {16, 16});
  b.Op("Loop", {"trips", "", "x"}, "y").Output("y", {-1, 16}).Output("all", {-1, -1, 16});
  b.last().add_output("all");
  auto& body = *testing::AddAttribute(b.last(), "body", onnx::AttributeProto::GRAPH).mutable_g();
  testing::Declare(*body.add_input(), "i", DType::kInt64, {});
  testing::Declare(*body.add_input(), "c", DType::kBool, {});
  testing::Declare(*body.add_input(), "h", DType::kFloat32, {-1, 16});
  testing::FillNode(*body.add_node(), "MatMul", {"h", "w"}, {"p"});
  testing::FillNode(*body.add_node(), "Tanh", {"p"}, {"next"});
  testing::FillNode(*body.add_node(), "Identity", {"next"}, {"each"});
  body.add_output()->set_name("c");
  body.add_output()->set_name("next");
  testing::Declare(*body.add_output(), "each", DType::kFloat32, {-1, 16});
  return b;
}

TEST(Executor, TapsEveryIterationOfABody) {
  const Runnable run(Recurrence());
  Segment whole;
  whole.end = static_cast<int>(run.executor.plan().steps().size());
  const ValueId state = run.graph.Find("h");
  const ValueId y = run.graph.Find("y");
  const Job job = run.executor.MakeJob(whole, {y}, {state});
  const Tensor x = testing::RandomTensor({2, 16}, 1.0f, 3);
  std::vector<Tensor> seen;
  const Values out = run.executor.Run(
      job, run.executor.LoadConstants(job),
      {{run.graph.Find("trips"), Tensor::Scalar<int64_t>(3)}, {run.graph.Find("x"), x}},
      [&](ValueId id, const Tensor& tensor) {
        EXPECT_EQ(id, state);
        seen.push_back(tensor);
      });
  ASSERT_EQ(seen.size(), 3u);
  EXPECT_THAT(seen[0].data<float>(), ::testing::ElementsAreArray(x.data<float>()));
  EXPECT_NE(seen[1].data<float>()[0], seen[2].data<float>()[0]);
  const Tensor all = run.Run(
      "all", {{run.graph.Find("trips"), Tensor::Scalar<int64_t>(3)}, {run.graph.Find("x"), x}});
  EXPECT_EQ(all.shape(), (Shape{3, 2, 16}));
  const auto last = all.data<float>().last(32);
  EXPECT_THAT(out.at(y).data<float>(), ::testing::Pointwise(::testing::FloatNear(1e-5f), last));
}

TEST(Executor, GivesTheDeclaredShapeWhereThereIsNoIteration) {
  const Runnable run(Recurrence());
  const Tensor x = testing::RandomTensor({2, 16}, 1.0f, 3);
  const Values inputs = {{run.graph.Find("trips"), Tensor::Scalar<int64_t>(0)},
                         {run.graph.Find("x"), x}};
  EXPECT_EQ(run.Run("all", inputs).shape(), (Shape{0, 0, 16}));
  EXPECT_THAT(run.Run("y", inputs).data<float>(), ::testing::ElementsAreArray(x.data<float>()));
}

TEST(Executor, GivesTheSameSegmentBySegmentAsAtOnce) {
  const Runnable run(testing::ToyDecoder(3));
  const ValueId ids = run.graph.Find("input_ids");
  const ValueId logits = run.graph.Find("logits");
  ASSERT_GT(run.executor.plan().segments().size(), 1u);
  Segment whole;
  whole.end = static_cast<int>(run.executor.plan().steps().size());
  const Job job = run.executor.MakeJob(whole, {logits}, {});
  const Tensor at_once =
      run.executor.Run(job, run.executor.LoadConstants(job), {{ids, Ids()}}).at(logits);
  const Tensor by_segment = run.Run("logits", {{ids, Ids()}});
  ASSERT_EQ(at_once.shape(), (Shape{2, 3, testing::kToyVocabulary}));
  EXPECT_TRUE(std::ranges::equal(at_once.bytes(), by_segment.bytes()));
  EXPECT_NE(at_once.data<float>()[0], at_once.data<float>()[1]);
}

/// W[300, 40] with small integers, twice those of the stored weight.
class Doubled : public DeferredWeight {
 public:
  explicit Doubled(Tensor stored) : stored_(std::move(stored)) {}
  [[nodiscard]] int64_t n() const override { return stored_.dim(0); }
  [[nodiscard]] int64_t k() const override { return stored_.dim(1); }
  const float* Rows(int64_t begin, int64_t end, std::vector<float>& buffer) const override {
    const auto values =
        stored_.data<float>().subspan(size_t(begin * k()), size_t((end - begin) * k()));
    buffer.assign(values.begin(), values.end());
    for (float& value : buffer) value *= 2;
    return buffer.data();
  }
  [[nodiscard]] Tensor Whole() const override {
    Tensor whole = stored_;
    for (float& value : whole.mutable_data<float>()) value *= 2;
    return whole;
  }

 private:
  Tensor stored_;
};

TEST(Executor, RunsAJobOnceWithWeightsThatAreMadeInTiles) {
  constexpr int64_t kN = 300, kK = 40;
  Tensor w(DType::kFloat32, {kN, kK});
  for (int64_t i = 0; i < w.size(); ++i) {
    w.mutable_data<float>()[size_t(i)] = float(i % 7) - float(i % 5);
  }
  Tensor x(DType::kFloat32, {2, 3, kK});
  for (int64_t i = 0; i < x.size(); ++i) x.mutable_data<float>()[size_t(i)] = float(i % 11);
  for (const DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16}) {
    GraphBuilder b;
    b.Weight("w", w.Cast(dtype)).Op("Transpose", {"w"}, "wt").Input("x", {2, 3, kK});
    b.Op("MatMul", {"x", "wt"}, "y").Op("Gemm", {"rows", "w"}, "z");
    testing::AddAttribute(b.last(), "transB", onnx::AttributeProto::INT).set_i(1);
    const Runnable run(b.Input("rows", {1, kK}).Output("y", {2, 3, kN}).Output("z", {1, kN}));
    const ValueId y = run.graph.Find("y"), z = run.graph.Find("z");
    Segment whole;
    whole.end = static_cast<int>(run.executor.plan().steps().size());
    const Job job = run.executor.MakeJob(whole, {y, z}, {});
    const Values inputs = {
        {run.graph.Find("x"), x},
        {run.graph.Find("rows"), Tensor::Filled<float>({1, kK}, 1.0f)},
    };
    const Values expected = run.executor.Run(job, run.executor.LoadConstants(job), inputs);
    const Values once = run.executor.RunOnce(job, {}, {}, inputs);
    const auto doubled = std::make_shared<Doubled>(w);
    const Values replaced = run.executor.RunOnce(
        job, {}, {{run.graph.Find("wt"), doubled}, {run.graph.Find("w"), doubled}}, inputs);
    for (const ValueId id : {y, z}) {
      for (size_t i = 0; i < size_t(expected.at(id).size()); ++i) {
        ASSERT_EQ(once.at(id).data<float>()[i], expected.at(id).data<float>()[i]);
        ASSERT_EQ(replaced.at(id).data<float>()[i], 2 * expected.at(id).data<float>()[i]);
      }
    }
  }
}

TEST(Executor, AddsVectorsToTheRowsOfValues) {
  GraphBuilder b;
  b.Weight("w", Tensor::From<float>({1, 2}, {1, 2})).Input("x", {2, 1});
  b.Op("MatMul", {"x", "w"}, "y").Op("Neg", {"y"}, "z");
  const Runnable run(b.Output("z", {2, 2}));
  Segment whole;
  whole.end = static_cast<int>(run.executor.plan().steps().size());
  const ValueId y = run.graph.Find("y"), z = run.graph.Find("z");
  std::vector<float> tapped;
  const Tap tap = [&](ValueId, const Tensor& value) {
    tapped.assign(value.data<float>().begin(), value.data<float>().end());
  };
  const Job job = run.executor.MakeJob(whole, {z}, {y});
  const Values x = {{run.graph.Find("x"), Tensor::From<float>({2, 1}, {1, 3})}};
  ValueEdits added;
  added.additions[y] = Tensor::From<float>({2}, {10, 20});
  const Values constants = run.executor.LoadConstants(job);
  EXPECT_THAT(run.executor.Run(job, constants, x, tap, added).at(z).data<float>(),
              ElementsAre(-11, -22, -13, -26));
  EXPECT_THAT(tapped, ElementsAre(11, 22, 13, 26)) << "what is tapped has it";
  const Job untapped = run.executor.MakeJob(whole, {z}, {});
  EXPECT_THAT(run.executor.RunOnce(untapped, {}, {}, x, added).at(z).data<float>(),
              ElementsAre(-11, -22, -13, -26));
}

TEST(Executor, ReplacesWeightsByOverrides) {
  GraphBuilder b;
  b.Weight("w", Tensor::From<float>({1, 2}, {1, 2})).Op("Transpose", {"w"}, "wt");
  b.Input("x", {1, 1}).Op("MatMul", {"x", "w"}, "y").Op("MatMul", {"y", "wt"}, "z");
  const Runnable run(b.Output("z", {1, 1}));
  const Values x = {{run.graph.Find("x"), Tensor::From<float>({1, 1}, {1})}};
  EXPECT_THAT(run.Run("z", x).data<float>(), ElementsAre(5));
  // The stored weight changes what is folded from it; a folded constant changes itself alone.
  const Tensor w = Tensor::From<float>({1, 2}, {3, 0});
  EXPECT_THAT(run.Run("z", x, {{run.graph.Find("w"), w}}).data<float>(), ElementsAre(9));
  EXPECT_THAT(run.Run("z", x, {{run.graph.Find("wt"), w.Reshaped({2, 1})}}).data<float>(),
              ElementsAre(3));
}

TEST(Executor, ShowsTappedValuesOnce) {
  const Runnable run(testing::ToyDecoder(1));
  Segment whole;
  whole.end = static_cast<int>(run.executor.plan().steps().size());
  const ValueId ids = run.graph.Find("input_ids");
  const ValueId norm = run.graph.Find("b0_n1");
  const ValueId gated = run.graph.Find("b0_gated");
  const Job job = run.executor.MakeJob(whole, {}, {norm, gated, ids});
  std::map<ValueId, Shape> seen;
  (void)run.executor.Run(job, run.executor.LoadConstants(job), {{ids, Ids()}},
                         [&](ValueId id, const Tensor& tensor) {
                           EXPECT_TRUE(seen.emplace(id, tensor.shape()).second);
                         });
  EXPECT_EQ(seen, (std::map<ValueId, Shape>{{ids, {2, 3}},
                                            {norm, {2, 3, testing::kToyHidden}},
                                            {gated, {2, 3, testing::kToyWide}}}));
}

TEST(Executor, NamesTheNodeThatFails) {
  GraphBuilder b;
  b.Input("x", {-1}).Input("z", {-1}).Op("Add", {"x", "z"}, "y", "the_sum").Output("y", {-1});
  const Runnable run(b);
  try {
    (void)run.Run("y", {{run.graph.Find("x"), Tensor::From<float>({2}, {1, 2})},
                        {run.graph.Find("z"), Tensor::From<float>({3}, {1, 2, 3})}});
    FAIL() << "nothing was thrown";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("the_sum"));
  }
}

/// What is read is twice the value.
class TwiceAsMuch : public ValueEdit {
 public:
  [[nodiscard]] Tensor Of(const Tensor& value) const override {
    Tensor doubled(DType::kFloat32, value.shape());
    for (size_t i = 0; i < value.data<float>().size(); ++i) {
      doubled.mutable_data<float>()[i] = 2 * value.data<float>()[i];
    }
    return doubled;
  }
};

TEST(Executor, LetsANodeReadAnEditOfItsFirstInput) {
  GraphBuilder b;
  b.Input("x", {1, 2}).Weight("w", Tensor::From<float>({2, 2}, {1, 0, 0, 1}));
  b.Op("MatMul", {"x", "w"}, "p").Op("Add", {"p", "x"}, "y").Output("y", {1, 2});
  const Runnable run(b);
  const ExecutionPlan& plan = run.executor.plan();
  const ValueId x = run.graph.Find("x"), p = run.graph.Find("p"), y = run.graph.Find("y");
  ValueEdits edits;
  edits.additions[p] = Tensor::From<float>({2}, {100, 200});
  ValueEdits of_node;
  of_node.first_inputs[run.graph.value(p).producer] = std::make_shared<TwiceAsMuch>();
  edits.Merge(of_node);
  ASSERT_EQ(plan.segments().size(), 1u);
  const Job job = run.executor.MakeJob(plan.segments()[0], {y}, {});
  const Values inputs = {{x, Tensor::From<float>({1, 2}, {3, 5})}};
  const Values constants = run.executor.LoadConstants(job);
  // The product reads 6 and 10, everybody else 3 and 5; nothing is left of it in the next pass.
  EXPECT_THAT(run.executor.Run(job, constants, inputs, {}, edits).at(y).data<float>(),
              ElementsAre(109, 215));
  EXPECT_THAT(run.executor.RunOnce(job, {}, {}, inputs, edits).at(y).data<float>(),
              ElementsAre(109, 215));
  EXPECT_THAT(run.executor.Run(job, constants, inputs).at(y).data<float>(), ElementsAre(6, 10));
}

TEST(Executor, EndsALoopThatNeverWould) {
  GraphBuilder b = Recurrence();
  const Runnable run(std::move(b));
  const Tensor x = testing::RandomTensor({2, 16}, 1.0f, 3);
  EXPECT_THROW((void)run.Run("y", {{run.graph.Find("trips"),
                                    Tensor::Scalar<int64_t>(std::numeric_limits<int64_t>::max())},
                                   {run.graph.Find("x"), x}}),
               UnsupportedError);
}

}  // namespace
}  // namespace ptq
