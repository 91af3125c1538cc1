// A written model computes what its source does on the weights that the codes mean.
#include "ptq/emit/output_model.h"

#include <fstream>

#include "emit_testing.h"
#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/runtime/executor.h"

namespace ptq {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using testing::FindInitializer;
using testing::ModelBuilder;
using ::testing::Not;
using testing::OpTypes;
using testing::TempDirectory;

constexpr int64_t kWidth = 64;

/// LayerNorm → up, gate; x = up · Sigmoid(gate) → down (with a bias between up and the product),
/// and a tied table that is looked up and multiplied with at the end.
ModelBuilder Block(int64_t opset = 17) {
  ModelBuilder builder(opset);
  builder.Input("x", {3, kWidth})
      .Random("gain", {kWidth})
      .Random("shift_of_norm", {kWidth})
      .Random("model.up.weight", {kWidth, 96})
      .Random("model.gate.weight_t", {kWidth, 96})
      .Random("up.bias.long", {96})
      .Random("model.down.weight.x", {96, kWidth})
      .Random("model.last.weight.xyz", {kWidth, 32})
      .Node("LayerNormalization", {"x", "gain", "shift_of_norm"}, "normed")
      .Node("MatMul", {"normed", "model.up.weight"}, "up0")
      .Node("Add", {"up0", "up.bias.long"}, "up")
      .Node("MatMul", {"normed", "model.gate.weight_t"}, "gate")
      .Node("Sigmoid", {"gate"}, "act")
      .Node("Mul", {"up", "act"}, "inner")
      .Node("MatMul", {"inner", "model.down.weight.x"}, "down")
      .Node("Add", {"down", "x"}, "residual")
      .Node("MatMul", {"residual", "model.last.weight.xyz"}, "y")
      .Info("up0", {3, 96})
      .Info("normed", {3, kWidth})
      .Output("y", {3, 32});
  return builder;
}

Tensor Input() {
  Tensor x(DType::kFloat32, {3, kWidth});
  std::mt19937 random(9);
  std::normal_distribution<float> normal;
  for (float& value : x.mutable_data<float>()) value = normal(random);
  return x;
}

/// Everything that a test needs of one source model, and the edited one.
class Emission {
 public:
  Emission(const onnx::ModelProto& proto, const EmitOptions& options,
           HeadForm head = HeadForm::kKeep, int bits = 4)
      : model_(Write(source_, proto)), graph_(model_), executor_(graph_) {
    PlanOptions plan_options;
    plan_options.spec = {bits, 32, true, ScaleType::kFloat32};
    plan_options.head = head;
    plan_ = MakePlan(executor_.plan(), plan_options);
    output_.emplace(graph_, plan_, destination_.path(), options);
  }
  static Model Write(const TempDirectory& directory, const onnx::ModelProto& proto) {
    return Model::Load(directory.Write("model.onnx", proto.SerializeAsString()));
  }

  [[nodiscard]] const Site& SiteOf(const std::string& name) const {
    for (const Site& site : plan_.sites) {
      if (graph_.value(site.value).name == name) return site;
    }
    throw std::runtime_error("no site " + name);
  }

  /// A bias for every quantized linear.
  [[nodiscard]] std::vector<std::pair<int, std::vector<float>>> Biases() const {
    std::vector<std::pair<int, std::vector<float>>> biases;
    for (size_t i = 0; i < plan_.linears.size(); ++i) {
      if (plan_.linears[i].decision != Decision::kQuantize) continue;
      std::vector<float> bias;
      for (int64_t n = 0; n < plan_.linears[i].n; ++n) bias.push_back(float(n % 5) - 1.5f);
      biases.emplace_back(int(i), std::move(bias));
    }
    return biases;
  }

  /// Random codes for every linear. `columns` divides the weight that they mean, as a scaled site
  /// does; `rows` goes into the scales only.
  void QuantizeAll(const std::map<std::string, std::vector<float>>& columns = {},
                   const std::map<std::string, std::vector<float>>& rows = {}) {
    std::mt19937 random(11);
    for (const Linear& linear : plan_.linears) {
      if (linear.decision != Decision::kQuantize) continue;
      auto q = testing::RandomMatrix(linear.n, linear.k, linear.spec.bits, 32, true, random);
      Tensor weight(DType::kFloat32, {linear.k, linear.n});
      const auto values = weight.mutable_data<float>();
      const std::string& node = graph_.nodes()[size_t(linear.node)].output(0);
      for (int64_t n = 0; n < linear.n; ++n) {
        for (int64_t k = 0; k < linear.k; ++k) {
          float value = testing::WeightOf(q, n, k);
          if (columns.contains(node)) value /= columns.at(node)[size_t(k)];
          values[size_t(k * linear.n + n)] = value;
        }
      }
      overrides_[linear.operand] = weight;
      if (rows.contains(node)) {
        const int64_t groups = q.spec.GroupsFor(q.k);
        for (int64_t i = 0; i < linear.n * groups; ++i) {
          q.scales[size_t(i)] /= rows.at(node)[size_t(i / groups)];
        }
      }
      bytes_[linear.name] = output_->Quantize(linear, q);
    }
  }

  /// Loads the result, and compares it with the source on the weights that the codes mean.
  void FinishAndCompare(float tolerance = 1e-5f) {
    output_->Finish();
    output_.reset();
    const Model result = Model::Load(destination_.path());
    proto_ = result.proto();
    const Graph graph(result);
    const Executor executor(graph);
    const Tensor actual = RunModel(executor, {{"x", Input()}}).at("y");
    const auto values = executor_.RunAll({{graph_.Find("x"), Input()}}, overrides_);
    const Tensor expected = values.at(graph_.Find("y"));
    ASSERT_EQ(actual.shape(), expected.shape());
    float largest = 0, difference = 0;
    for (int64_t i = 0; i < expected.size(); ++i) {
      largest = std::max(largest, std::abs(expected.data<float>()[size_t(i)]));
      difference = std::max(difference, std::abs(expected.data<float>()[size_t(i)] -
                                                 actual.data<float>()[size_t(i)]));
    }
    EXPECT_GT(largest, 0.0f);
    EXPECT_LE(difference, tolerance * largest);
  }

  TempDirectory source_, destination_;
  Model model_;
  Graph graph_;
  Executor executor_;
  Plan plan_;
  std::optional<OutputModel> output_;
  Values overrides_;
  std::map<std::string, int64_t> bytes_;
  onnx::ModelProto proto_;  ///< the result
};

std::vector<float> Powers(int64_t count) {
  std::vector<float> scale;
  for (int64_t i = 0; i < count; ++i) scale.push_back(std::exp2(float(i % 5 - 2)));
  return scale;
}

TEST(OutputModel, ReplacesLinearsInPlaceAndDropsTheirWeights) {
  for (const std::string format : {"matmulnbits", "qdq"}) {
    Emission emission(Block().proto, {format, 0, false});
    emission.QuantizeAll();
    emission.FinishAndCompare();
    const auto& graph = emission.proto_.graph();
    const std::string product = format == "qdq" ? "DequantizeLinear" : "MatMulNBits";
    EXPECT_EQ(std::ranges::count(OpTypes(graph), product), 4);
    EXPECT_EQ(FindInitializer(graph, "model.up.weight"), nullptr);
    EXPECT_NE(FindInitializer(graph, "gain"), nullptr);
    EXPECT_EQ(graph.input_size(), 1);
    EXPECT_EQ(graph.output(0).SerializeAsString(),
              Block().proto.graph().output(0).SerializeAsString());
    EXPECT_EQ(graph.value_info_size(), 2) << "both values are still computed";
    for (const auto& [name, bytes] : emission.bytes_) EXPECT_GT(bytes, 0) << name;
  }
}

TEST(OutputModel, StoresThreeBitCodesInFourBits) {
  for (const std::string format : {"matmulnbits", "qdq"}) {
    Emission emission(Block().proto, {format, 0, false}, HeadForm::kKeep, 3);
    emission.QuantizeAll();
    emission.FinishAndCompare();
    const auto* up = FindInitializer(emission.proto_.graph(), "model.up.weight_q4");
    ASSERT_NE(up, nullptr) << "named after what the file holds";
    EXPECT_EQ(emission.bytes_.at("model.up"), 96 * kWidth / 2 + 96 * kWidth / 32 * 4);
  }
}

TEST(OutputModel, FoldsScalesIntoGainRowsAndMul) {
  Emission emission(Block().proto, {"matmulnbits", 0, false});
  const Site& norm = emission.SiteOf("normed");
  const Site& inner = emission.SiteOf("inner");
  const Site& residual = emission.SiteOf("residual");
  ASSERT_EQ(norm.fold.kind, Fold::Kind::kGain);
  ASSERT_EQ(inner.fold.kind, Fold::Kind::kLinearRows);
  ASSERT_EQ(residual.fold.kind, Fold::Kind::kMul);
  const auto narrow = Powers(kWidth), wide = Powers(96);
  emission.output_->ScaleSite(norm, narrow);
  emission.output_->ScaleSite(inner, wide);
  emission.output_->ScaleSite(residual, narrow);
  const std::string scaled_rows =
      emission.graph_.nodes()[size_t(emission.plan_.linears[size_t(inner.fold.linear)].node)]
          .output(0);
  emission.QuantizeAll({{"up0", narrow}, {"gate", narrow}, {"down", wide}, {"y", narrow}},
                       {{scaled_rows, wide}});
  emission.FinishAndCompare();
  EXPECT_EQ(std::ranges::count(OpTypes(emission.proto_.graph()), "Mul"), 2);
  EXPECT_EQ(FindInitializer(emission.proto_.graph(), "gain"), nullptr);
  EXPECT_NE(FindInitializer(emission.proto_.graph(), "gain_scaled"), nullptr);
}

// A run that is killed after a checkpoint goes on from the recorded edits, over whatever was
// written behind it.
TEST(OutputModel, GivesTheSameBytesWhenItsEditsAreReplayed) {
  for (const std::string format : {"matmulnbits", "qdq"}) {
    const auto narrow = Powers(kWidth), wide = Powers(96);
    const auto quantize = [&](Emission& emission) {
      std::vector<std::pair<Site, std::vector<float>>> scaled = {
          {emission.SiteOf("normed"), narrow},
          {emission.SiteOf("inner"), wide},
          {emission.SiteOf("residual"), narrow}};
      for (const auto& [site, scale] : scaled) emission.output_->ScaleSite(site, scale);
      for (const auto& [linear, bias] : emission.Biases()) {
        emission.output_->AddBias(emission.plan_.linears[size_t(linear)], bias);
      }
      emission.QuantizeAll();
      return scaled;
    };
    const auto bytes = [](const Emission& emission) {
      return ReadTextFile(emission.destination_.path() / "model.onnx") +
             ReadTextFile(emission.destination_.path() / "model.onnx.data");
    };
    Emission undisturbed(Block().proto, {format, 0, false});
    quantize(undisturbed);
    undisturbed.output_->Finish();

    Emission killed(Block().proto, {format, 0, false});
    const auto scaled = quantize(killed);
    const nlohmann::json edits =
        nlohmann::json::from_cbor(nlohmann::json::to_cbor(killed.output_->TakeEdits()));
    std::ofstream(killed.destination_.path() / "model.onnx.data", std::ios::app) << "half a tensor";
    killed.output_.emplace(killed.graph_, killed.plan_, killed.destination_.path(),
                           EmitOptions{format, 0, false});
    killed.output_->Replay(edits, scaled, killed.Biases());
    killed.output_->Continue();
    killed.output_->Finish();
    EXPECT_EQ(bytes(killed), bytes(undisturbed)) << format;
  }
}

TEST(OutputModel, AddsBiasesToThoseThatAreThereAndElseAsTheirOwn) {
  for (const std::string format : {"matmulnbits", "qdq"}) {
    SCOPED_TRACE(format);
    Emission emission(Block().proto, {format, 0, false});
    Values added;
    for (const auto& [index, bias] : emission.Biases()) {
      const Linear& linear = emission.plan_.linears[size_t(index)];
      emission.output_->AddBias(linear, bias);
      added[emission.graph_.outputs(linear.node)[0]] = Tensor::From<float>({linear.n}, bias);
    }
    emission.QuantizeAll();
    emission.output_->Finish();
    emission.output_.reset();
    const Model result = Model::Load(emission.destination_.path());
    const Graph graph(result);
    const Executor written(graph);
    const Tensor actual = RunModel(written, {{"x", Input()}}).at("y");
    Segment whole;
    whole.end = int(emission.executor_.plan().steps().size());
    const ValueId y = emission.graph_.Find("y");
    const Job job = emission.executor_.MakeJob(whole, {y}, {});
    const Tensor expected =
        emission.executor_
            .RunOnce(job, emission.overrides_, {}, {{emission.graph_.Find("x"), Input()}}, added)
            .at(y);
    float largest = 0;
    for (const float value : expected.data<float>()) largest = std::max(largest, std::abs(value));
    for (size_t i = 0; i < size_t(expected.size()); ++i) {
      ASSERT_NEAR(actual.data<float>()[i], expected.data<float>()[i], 1e-5f * largest) << i;
    }
    EXPECT_NE(FindInitializer(result.proto().graph(), "up.bias.long_scaled"), nullptr)
        << "the Add behind up takes it";
    EXPECT_EQ(FindInitializer(result.proto().graph(), "up.bias.long"), nullptr);
  }
}

TEST(OutputModel, RefusesEditsThatAreNone) {
  Emission emission(Block().proto, {"matmulnbits", 0, false});
  EXPECT_THROW(emission.output_->Replay(nlohmann::json::object(), {}, {}), InputError);
  nlohmann::json edits = emission.output_->TakeEdits();
  edits["replaced"] = 3;
  EXPECT_THROW(emission.output_->Replay(edits, {}, {}), InputError);
}

TEST(OutputModel, DividesTheBiasOfRowsThatWereReplacedAlready) {
  // Gemm holds the bias itself; the codes come first, the consumer's scale later.
  ModelBuilder builder(17);
  builder.Input("x", {3, kWidth})
      .Random("w.first", {kWidth, 96})
      .Random("bias", {96})
      .Random("w.second.x", {96, kWidth})
      .Random("w.third.xy", {kWidth, 32})
      .Node("Gemm", {"x", "w.first", "bias"}, "a")
      .Node("MatMul", {"a", "w.second.x"}, "b")
      .Node("Add", {"b", "x"}, "residual")
      .Node("MatMul", {"residual", "w.third.xy"}, "y")
      .Output("y", {3, 32});
  Emission emission(builder.proto, {"matmulnbits", 0, false});
  const Site& site = emission.SiteOf("a");
  ASSERT_EQ(site.fold.kind, Fold::Kind::kLinearRows);
  const auto scale = Powers(96);
  emission.QuantizeAll({{"b", scale}}, {{"a", scale}});
  emission.output_->ScaleSite(site, scale);
  emission.FinishAndCompare();
}

TEST(OutputModel, NeverChangesAConstantThatOthersRead) {
  auto builder = Block();
  builder.Node("Mul", {"residual", "gain"}, "elsewhere").Output("elsewhere", {3, kWidth});
  Emission emission(builder.proto, {"matmulnbits", 0, false});
  emission.output_->ScaleSite(emission.SiteOf("normed"), Powers(kWidth));
  emission.QuantizeAll({{"up0", Powers(kWidth)}, {"gate", Powers(kWidth)}});
  emission.FinishAndCompare();
  const auto* gain = FindInitializer(emission.proto_.graph(), "gain");
  ASSERT_NE(gain, nullptr);
  EXPECT_EQ(gain->raw_data(), FindInitializer(builder.proto.graph(), "gain")->raw_data());
}

TEST(OutputModel, RefusesAGainThatWouldOverflowHalf) {
  Emission emission(Block().proto, {"matmulnbits", 0, false});
  std::vector<float> scale(size_t(kWidth), 1e-42f);
  EXPECT_THROW(emission.output_->ScaleSite(emission.SiteOf("normed"), scale), UnsupportedError);
}

TEST(OutputModel, StoresATiedTableOnceAsHalf) {
  // The table is looked up and, transposed, the head: one FP16 tensor, cast behind each use.
  ModelBuilder builder(17);
  builder.Input("x", {3, kWidth})
      .Random("table", {100, kWidth})
      .Random("inner.weight", {kWidth, kWidth});
  auto* ids = builder.proto.mutable_graph()->add_initializer();
  ids->set_name("ids");
  ids->set_data_type(onnx::TensorProto::INT64);
  ids->add_dims(3);
  for (const int64_t id : {5, 0, 99}) ids->add_int64_data(id);
  builder.Node("Gather", {"table", "ids"}, "embedded")
      .Node("Add", {"embedded", "x"}, "sum")
      .Node("MatMul", {"sum", "inner.weight"}, "hidden")
      .Node("Transpose", {"table"}, "head_weight")
      .Ints("perm", {1, 0})
      .Node("MatMul", {"hidden", "head_weight"}, "y")
      .Output("y", {3, 100});
  Emission emission(builder.proto, {"matmulnbits", 0, false}, HeadForm::kHalf);
  ASSERT_EQ(emission.plan_.linears.back().decision, Decision::kHalf);
  EXPECT_EQ(emission.output_->StoreAsHalf(emission.plan_.linears.back()), 100 * kWidth * 2);
  EXPECT_EQ(emission.output_->StoreAsHalf(emission.plan_.linears.back()), 100 * kWidth * 2);
  emission.QuantizeAll();
  emission.FinishAndCompare(2e-3f);
  const auto& graph = emission.proto_.graph();
  EXPECT_EQ(FindInitializer(graph, "table"), nullptr);
  EXPECT_NE(FindInitializer(graph, "table_fp16"), nullptr);
  EXPECT_EQ(std::ranges::count(OpTypes(graph), "Cast"), 2);
  for (const auto& node : graph.node()) {
    const bool moves = node.op_type() == "Gather" || node.op_type() == "Transpose";
    EXPECT_EQ(moves, node.input(0) == "table_fp16") << node.op_type();
  }
}

TEST(OutputModel, KeepsFloat32WhereHalfWouldOverflow) {
  auto builder = ModelBuilder(17);
  std::vector<float> values(size_t(kWidth * 100), 0.5f);
  values[17] = 70000.0f;
  builder.Input("x", {3, kWidth})
      .Random("inner.weight", {kWidth, kWidth})
      .Floats("head", {kWidth, 100}, values)
      .Node("MatMul", {"x", "inner.weight"}, "hidden")
      .Node("MatMul", {"hidden", "head"}, "y")
      .Output("y", {3, 100});
  Emission emission(builder.proto, {"matmulnbits", 0, false}, HeadForm::kHalf);
  EXPECT_EQ(emission.output_->StoreAsHalf(emission.plan_.linears.back()), kWidth * 100 * 4);
  emission.QuantizeAll();
  emission.FinishAndCompare();
  EXPECT_NE(FindInitializer(emission.proto_.graph(), "head"), nullptr);
}

TEST(OutputModel, StoresOtherFloatsAsHalfOnRequest) {
  Emission emission(Block().proto, {"matmulnbits", 0, true});
  emission.QuantizeAll();
  emission.FinishAndCompare(2e-3f);
  const auto& graph = emission.proto_.graph();
  for (const char* name : {"gain_fp16", "shift_of_norm_fp16", "up.bias.long_fp16"}) {
    EXPECT_NE(FindInitializer(graph, name), nullptr) << name;
  }
  EXPECT_EQ(FindInitializer(graph, "model.up.weight_fp16"), nullptr) << "it became codes";
}

TEST(OutputModel, DropsReplacedWeightsFromTheListOfInputs) {
  // IR 3 lists every initializer among the inputs; later versions may.
  for (const int64_t ir : {3, 8}) {
    auto builder = Block();
    builder.proto.set_ir_version(ir);
    for (const auto& tensor : builder.proto.graph().initializer()) {
      builder.Input(tensor.name(), Shape(tensor.dims().begin(), tensor.dims().end()));
    }
    Emission emission(builder.proto, {"matmulnbits", 0, false});
    emission.QuantizeAll();
    emission.FinishAndCompare();
    std::vector<std::string> inputs;
    for (const auto& input : emission.proto_.graph().input()) inputs.push_back(input.name());
    EXPECT_EQ(inputs.front(), "x");
    EXPECT_THAT(inputs, Not(Contains("model.up.weight")));
    EXPECT_EQ(std::ranges::count(inputs, "gain"), ir == 3 ? 0 : 1);
    EXPECT_GE(emission.proto_.ir_version(), 4);
  }
}

TEST(OutputModel, CopiesExternalAndTypedWeightsBitForBit) {
  auto builder = Block();
  const TempDirectory source;
  auto* tensor = builder.proto.mutable_graph()->mutable_initializer(0);
  const std::string gain = tensor->raw_data();
  source.Write("data/gain.bin", std::string(100, '\1') + gain);
  tensor->clear_raw_data();
  tensor->set_data_location(onnx::TensorProto::EXTERNAL);
  for (const auto& [key, value] :
       {std::pair<std::string, std::string>{"location", "data/gain.bin"}, {"offset", "100"}}) {
    auto* entry = tensor->add_external_data();
    entry->set_key(key);
    entry->set_value(value);
  }
  const Model model = Emission::Write(source, builder.proto);
  const Graph graph(model);
  const Executor executor(graph);
  PlanOptions options;
  options.spec = {4, 32, true, ScaleType::kFloat32};
  const Plan plan = MakePlan(executor.plan(), options);
  const TempDirectory destination;
  OutputModel output(graph, plan, destination.path(), {});
  output.SetMetadata("key", "first");
  output.SetMetadata("key", "second");
  output.Finish();
  const Model result = Model::Load(destination.path());
  const auto* copied = FindInitializer(result.graph(), "gain");
  ASSERT_NE(copied, nullptr);
  const Tensor values = result.weights().Read(*copied);
  EXPECT_EQ(std::memcmp(values.bytes().data(), gain.data(), gain.size()), 0);
  EXPECT_THAT(result.ExternalFiles(), ElementsAre("model.onnx.data"));
  ASSERT_EQ(result.proto().metadata_props_size(), 1);
  EXPECT_EQ(result.proto().metadata_props(0).value(), "second");
}

TEST(OutputModel, WritesTheSameBytesTwice) {
  std::string first;
  for (int run = 0; run < 2; ++run) {
    Emission emission(Block().proto, {"matmulnbits", 4, true});
    emission.output_->ScaleSite(emission.SiteOf("residual"), Powers(kWidth));
    emission.QuantizeAll();
    emission.output_->Finish();
    const std::string bytes = ReadTextFile(emission.destination_.path() / "model.onnx") +
                              ReadTextFile(emission.destination_.path() / "model.onnx.data");
    if (run == 0) first = bytes;
    EXPECT_EQ(bytes, first);
  }
}

TEST(OutputModel, KeepsFieldsThatThisBuildDoesNotKnow) {
  auto builder = Block();
  auto& node = *builder.proto.mutable_graph()->mutable_node(4);
  node.GetReflection()->MutableUnknownFields(&node)->AddLengthDelimited(99, "future");
  auto& graph = *builder.proto.mutable_graph();
  graph.GetReflection()->MutableUnknownFields(&graph)->AddLengthDelimited(98, "newer");
  Emission emission(builder.proto, {"matmulnbits", 0, false});
  emission.QuantizeAll();
  emission.FinishAndCompare();
  EXPECT_THAT(emission.proto_.SerializeAsString(), ::testing::HasSubstr("future"));
  EXPECT_THAT(emission.proto_.SerializeAsString(), ::testing::HasSubstr("newer"));
}

TEST(CopyStructure, LeavesTheModelAsItWas) {
  const Model model = Model::FromProto(Block().proto);
  const std::string before = model.proto().SerializeAsString();
  const auto copy = model.CopyStructure();
  EXPECT_EQ(copy.graph().initializer_size(), 0);
  EXPECT_EQ(copy.graph().node_size(), model.graph().node_size());
  EXPECT_EQ(model.proto().SerializeAsString(), before);
}

}  // namespace
}  // namespace ptq
