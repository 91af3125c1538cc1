// Scales and biases of a written model go where its plan says, and its edits can be made again.
#include <fstream>

#include "emission.h"
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/emit/output_model.h"

namespace ptq {
namespace {

using testing::Block;
using testing::Emission;
using testing::FindInitializer;
using testing::Input;
using testing::kWidth;
using testing::ModelBuilder;
using testing::OpTypes;
using testing::Powers;

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
    killed.output_.emplace(killed.graph_, killed.plan_, killed.destination_.path(), OutputFiles());
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
    ValueEdits added;
    for (const auto& [index, bias] : emission.Biases()) {
      const Linear& linear = emission.plan_.linears[size_t(index)];
      emission.output_->AddBias(linear, bias);
      added.additions[emission.graph_.outputs(linear.node)[0]] =
          Tensor::From<float>({linear.n}, bias);
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

}  // namespace
}  // namespace ptq
