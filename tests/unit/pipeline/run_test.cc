// Whole runs on small models: what they write, and what they leave when they fail.
#include "ptq/pipeline/run.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <string>

#include "support/model_builder.h"
#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/parallel.h"
#include "ptq/model/graph.h"
#include "ptq/tensor/npz.h"

namespace ptq {
namespace {

using testing::GraphBuilder;

class RunTest : public ::testing::Test {
 protected:
  RunTest() {
    Tensor ids(DType::kInt64, {6, 12});
    auto values = ids.mutable_data<int64_t>();
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<int64_t>(i * i * 31 + i * 7) % testing::kToyVocabulary;
    }
    WriteNpz(directory_.path() / "ids.npz", {{"input_ids", ids}});
  }

  Recipe RecipeFor(const GraphBuilder& builder, const std::string& method) {
    Recipe recipe;
    recipe.source = directory_.Write("toy/model.onnx", builder.Bytes());
    recipe.destination = directory_.path() / "result";
    recipe.method = method;
    recipe.group_size = 16;
    recipe.calibration.files = {directory_.path() / "ids.npz"};
    return recipe;
  }

  /// Names in the test's directory.
  [[nodiscard]] std::set<std::string> Entries() const {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(directory_.path())) {
      names.insert(entry.path().filename().string());
    }
    return names;
  }

  testing::TempDirectory directory_;
};

int CountOps(const Model& model, const std::string& type) {
  return static_cast<int>(std::ranges::count_if(
      model.graph().node(), [&](const auto& node) { return node.op_type() == type; }));
}

TEST_F(RunTest, WritesTheLayoutOfTransformersJs) {
  Recipe recipe = RecipeFor(testing::ToyDecoder(1), "rtn");
  directory_.Write("toy/config.json", R"({"model_type": "llama"})");
  recipe.layout = Layout::kTransformersJs;
  const RunReport report = ptq::Run(recipe);
  EXPECT_TRUE(report.verification.done);
  const auto folder = report.destination / "onnx";
  EXPECT_EQ(report.bytes_after, int64_t(std::filesystem::file_size(folder / "model_q4.onnx") +
                                        std::filesystem::file_size(folder / "model_q4.onnx_data")));
  EXPECT_THAT(ReadTextFile(report.destination / "config.json"),
              ::testing::HasSubstr(R"("model_q4.onnx": 1)"));
  EXPECT_EQ(Model::Load(report.destination).path(), folder / "model_q4.onnx");
}

TEST_F(RunTest, NamesAModelOfThreeBitCodesAfterWhatItIsStoredIn) {
  Recipe recipe = RecipeFor(testing::ToyDecoder(1), "awq");
  recipe.bits = 3;
  recipe.layout = Layout::kTransformersJs;
  const RunReport report = ptq::Run(recipe);
  EXPECT_TRUE(report.verification.done);
  const Model written = Model::Load(report.destination);
  EXPECT_EQ(written.path(), report.destination / "onnx" / "model_q4.onnx");
  EXPECT_EQ(CountOps(written, "MatMulNBits"), 7);
  for (const auto& node : written.graph().node()) {
    for (const auto& attribute : node.attribute()) {
      if (attribute.name() == "bits") {
        EXPECT_EQ(attribute.i(), 4);
      }
    }
  }
}

TEST_F(RunTest, QuantizesADecoderByAwqAndVerifiesIt) {
  const RunReport report = ptq::Run(RecipeFor(testing::ToyDecoder(2), "awq"));
  EXPECT_TRUE(report.verification.done);
  EXPECT_LE(report.verification.max_relative, report.verification.tolerance);
  EXPECT_EQ(report.samples, 6);
  EXPECT_EQ(report.tokens, 72);
  EXPECT_LT(report.bytes_after, report.bytes_before);
  ASSERT_EQ(report.outcomes.size(), 15u);
  bool scaled = false;
  for (size_t i = 0; i < report.outcomes.size(); ++i) {
    if (!report.plan.linears[i].decision.quantizes()) continue;
    const Outcome& outcome = report.outcomes[i];
    EXPECT_EQ(outcome.tokens, 72);
    EXPECT_GT(outcome.energy, 0);
    EXPECT_GT(outcome.loss_after, 0);
    EXPECT_LE(outcome.loss_after, outcome.loss_before);
    scaled = scaled || outcome.scaling != "none";
  }
  EXPECT_TRUE(scaled);
  EXPECT_EQ(CountOps(Model::Load(report.destination), "MatMulNBits"), 14);
}

TEST_F(RunTest, QuantizesByRtnWithoutCalibration) {
  Recipe recipe = RecipeFor(testing::ToyDecoder(1), "rtn");
  recipe.calibration.files = {directory_.path() / "missing.npz"};
  const RunReport report = ptq::Run(recipe);
  EXPECT_EQ(report.tokens, 0);
  EXPECT_TRUE(report.verification.done);
  for (size_t i = 0; i < report.outcomes.size(); ++i) {
    if (!report.plan.linears[i].decision.quantizes()) continue;
    EXPECT_EQ(report.outcomes[i].loss_after, report.outcomes[i].loss_before);
    EXPECT_EQ(report.outcomes[i].scaling, "none");
  }
  EXPECT_EQ(CountOps(Model::Load(report.destination), "MatMulNBits"), 7);
}

TEST_F(RunTest, WritesTheSameBytesForAnyNumberOfThreads) {
  Recipe recipe = RecipeFor(testing::ToyDecoder(2), "best");
  for (const int threads : {1, 2}) {
    const ThreadLimit limit(threads);
    recipe.destination = directory_.path() / std::to_string(threads);
    (void)ptq::Run(recipe);
  }
  for (const char* name : {"model.onnx", "model.onnx.data", "quantization_metadata.json"}) {
    EXPECT_EQ(ReadTextFile(directory_.path() / "1" / name),
              ReadTextFile(directory_.path() / "2" / name))
        << name;
  }
}

TEST_F(RunTest, EveryPresetVerifiesAndIsNoWorseThanRoundingToNearest) {
  Recipe recipe = RecipeFor(testing::ToyDecoder(2), "awq");
  recipe.overwrite = true;
  recipe.bias_correction = BiasCorrection::kAll;
  for (const std::string& preset : MethodPresetNames()) {
    SCOPED_TRACE(preset);
    recipe.method = preset;
    for (const std::string format : {"matmulnbits", "qdq"}) {
      recipe.format = format;
      const RunReport report = ptq::Run(recipe);
      EXPECT_TRUE(report.verification.done);
      EXPECT_LE(report.verification.max_relative, report.verification.tolerance);
      for (size_t i = 0; i < report.outcomes.size(); ++i) {
        if (!report.plan.linears[i].decision.quantizes()) continue;
        EXPECT_LE(report.outcomes[i].loss_after, report.outcomes[i].loss_before);
        EXPECT_GT(report.outcomes[i].loss_after, 0);
      }
    }
  }
}

TEST_F(RunTest, SaysWhenTokensAreFew) {
  const auto notes = [&](int64_t samples) {
    Recipe recipe = RecipeFor(testing::ToyDecoder(1), "awq");
    recipe.overwrite = true;
    recipe.calibration.samples = samples;
    return ptq::Run(recipe).notes;
  };
  EXPECT_THAT(notes(1), ::testing::Contains(::testing::HasSubstr("linears saw few tokens")));
}

TEST_F(RunTest, LeavesNothingBehindWhenItFails) {
  Recipe recipe = RecipeFor(testing::ToyDecoder(1), "awq");
  recipe.calibration.files = {directory_.path() / "missing.npz"};
  const auto before = Entries();
  EXPECT_THROW((void)ptq::Run(recipe), InputError);
  EXPECT_EQ(Entries(), before);
}

TEST_F(RunTest, RefusesIdsOutsideTheVocabulary) {
  Recipe recipe = RecipeFor(testing::ToyDecoder(1), "awq");
  WriteNpz(recipe.calibration.files.front(),
           {{"input_ids", Tensor::From<int64_t>({1, 2}, {1, testing::kToyVocabulary})}});
  const auto before = Entries();
  EXPECT_THROW((void)ptq::Run(recipe), InputError);
  EXPECT_EQ(Entries(), before);
}

TEST_F(RunTest, DoesNotTouchAnExistingResult) {
  const Recipe recipe = RecipeFor(testing::ToyDecoder(1), "rtn");
  directory_.Write("result/kept.txt", "kept");
  EXPECT_THROW((void)ptq::Run(recipe), OutputError);
  EXPECT_EQ(ReadTextFile(directory_.path() / "result" / "kept.txt"), "kept");
}

TEST_F(RunTest, PlansWithoutWriting) {
  const auto recipe = RecipeFor(testing::ToyDecoder(1), "awq");
  const auto before = Entries();
  const RunReport report = PlanRun(recipe);
  EXPECT_EQ(report.plan.linears.size(), 8u);
  EXPECT_GT(report.predicted_peak_bytes, 0);
  EXPECT_EQ(Entries(), before);
}

TEST_F(RunTest, QuantizesASharedWeightOnce) {
  GraphBuilder b;
  b.Input("input_ids", {-1, -1}, DType::kInt64).Output("logits", {-1, -1, 32});
  b.Random("embed.weight", {testing::kToyVocabulary, 32}).Random("twice.weight", {32, 32});
  b.Op("Gather", {"embed.weight", "input_ids"}, "x");
  b.Op("MatMul", {"x", "twice.weight"}, "h").Op("Sigmoid", {"h"}, "s");
  b.Op("MatMul", {"s", "twice.weight"}, "g").Op("Relu", {"g"}, "logits");
  const RunReport report = ptq::Run(RecipeFor(b, "awq"));
  EXPECT_TRUE(report.verification.done);
  ASSERT_EQ(report.outcomes.size(), 2u);
  EXPECT_EQ(report.outcomes[0].scaling, "none");
  const Model result = Model::Load(report.destination);
  std::set<std::string> codes;
  for (const auto& node : result.graph().node()) {
    if (node.op_type() == "MatMulNBits") codes.insert(node.input(1));
  }
  EXPECT_EQ(CountOps(result, "MatMulNBits"), 2);
  EXPECT_EQ(codes.size(), 1u);
}

/// Ids to logits through one of two branches, with a linear each and one weight that both use.
GraphBuilder MergedDecoder() {
  GraphBuilder b;
  b.Input("input_ids", {-1, -1}, DType::kInt64).Input("use_cache_branch", {1}, DType::kBool);
  b.Random("table", {testing::kToyVocabulary, 32}, 1.0f).Op("Gather", {"table", "input_ids"}, "x");
  b.Op("If", {"use_cache_branch"}, "logits").Output("logits", {-1, -1, 32});
  for (const std::string name : {"then", "else"}) {
    auto& body =
        *testing::AddAttribute(b.last(), name + "_branch", onnx::AttributeProto::GRAPH).mutable_g();
    testing::FillNode(*body.add_node(), "MatMul", {"x", "both.weight"}, {"h"});
    testing::FillNode(*body.add_node(), "Tanh", {"h"}, {"a"});
    testing::FillNode(*body.add_node(), "MatMul", {"a", name + ".weight"}, {"out"});
    body.add_output()->set_name("out");
  }
  for (const char* name : {"both.weight", "then.weight", "else.weight"}) b.Random(name, {32, 32});
  return b;
}

TEST_F(RunTest, RoundsToNearestWhereNoTokenComesAndSaysSo) {
  const RunReport report = ptq::Run(RecipeFor(MergedDecoder(), "awq"));
  EXPECT_TRUE(report.verification.done);
  ASSERT_EQ(report.plan.linears.size(), 4u);
  for (size_t i = 0; i < report.outcomes.size(); ++i) {
    const Linear& linear = report.plan.linears[i];
    EXPECT_TRUE(linear.decision.quantizes()) << linear.name << ": " << linear.decision.reason;
    const bool unseen = linear.name == "then";
    EXPECT_EQ(report.outcomes[i].tokens, unseen ? 0 : 72) << linear.name;
    EXPECT_EQ(!report.outcomes[i].note.empty(), unseen) << linear.name;
  }
  // One tensor of codes for the weight of both branches.
  const Model written = Model::Load(report.destination);
  const auto& initializers = written.graph().initializer();
  EXPECT_EQ(std::ranges::count_if(initializers,
                                  [](const auto& tensor) {
                                    return tensor.name().find("weight_q4") != std::string::npos;
                                  }),
            3);
}

/// Ids to logits by three iterations of h = Tanh((h + x) · w), then a linear behind the loop.
GraphBuilder Recurrent() {
  GraphBuilder b;
  b.Input("input_ids", {-1, -1}, DType::kInt64).Random("w.weight", {32, 32}).Random("v", {32, 48});
  b.Random("table", {testing::kToyVocabulary, 32}, 1.0f).Op("Gather", {"table", "input_ids"}, "x");
  b.Weight("trips", Tensor::Scalar<int64_t>(3)).Op("Loop", {"trips", "", "x"}, "last");
  auto& body = *testing::AddAttribute(b.last(), "body", onnx::AttributeProto::GRAPH).mutable_g();
  testing::Declare(*body.add_input(), "i", DType::kInt64, {});
  testing::Declare(*body.add_input(), "c", DType::kBool, {});
  testing::Declare(*body.add_input(), "h", DType::kFloat32, {-1, -1, 32});
  testing::FillNode(*body.add_node(), "Add", {"h", "x"}, {"s"});
  testing::FillNode(*body.add_node(), "MatMul", {"s", "w.weight"}, {"p"});
  testing::FillNode(*body.add_node(), "Tanh", {"p"}, {"next"});
  body.add_output()->set_name("c");
  body.add_output()->set_name("next");
  b.Op("MatMul", {"last", "v"}, "y").Op("Tanh", {"y"}, "logits").Output("logits", {-1, -1, 48});
  return b;
}

TEST_F(RunTest, QuantizesABodyWithWhatAllIterationsSee) {
  const Recipe recipe = RecipeFor(Recurrent(), "awq");
  const RunReport report = ptq::Run(recipe);
  EXPECT_TRUE(report.verification.done);
  ASSERT_EQ(report.plan.linears.size(), 2u);
  EXPECT_TRUE(report.plan.linears[0].decision.quantizes());
  EXPECT_EQ(report.outcomes[0].tokens, 3 * 72);
  EXPECT_EQ(report.plan.sites[0].fold.kind, Fold::Kind::kMul);
  const Model written = Model::Load(report.destination);
  const Graph graph(written);
  const auto& nodes = graph.nodes();
  const auto product =
      std::ranges::find_if(nodes, [](const Node& node) { return node.op_type() == "MatMulNBits"; });
  ASSERT_NE(product, nodes.end());
  EXPECT_NE(graph.ScopeOf(int(product - nodes.begin())), 0);
  EXPECT_EQ(graph.Find("w.weight"), kNoValue);
  const auto result =
      std::ranges::find_if(nodes, [](const Node& n) { return n.op_type() == "Mul"; });
  if (report.outcomes[0].scaling != "none") {
    ASSERT_NE(result, nodes.end());
    EXPECT_EQ(graph.ScopeOf(int(result - nodes.begin())),
              graph.ScopeOf(int(product - nodes.begin())));
  }
}

}  // namespace
}  // namespace ptq
