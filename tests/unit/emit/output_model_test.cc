// A written model computes what its source does on the weights that the codes mean.
#include "ptq/emit/output_model.h"

#include "emission.h"
#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/file.h"

namespace ptq {
namespace {

using testing::Block;
using ::testing::Contains;
using ::testing::ElementsAre;
using testing::Emission;
using testing::FindInitializer;
using ::testing::HasSubstr;
using testing::kWidth;
using testing::ModelBuilder;
using ::testing::Not;
using testing::OpTypes;
using testing::Powers;
using testing::TempDirectory;

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
    Emission emission(Block().proto, {format, 0, false}, Precision::kKeep, 3);
    emission.QuantizeAll();
    emission.FinishAndCompare();
    const auto* up = FindInitializer(emission.proto_.graph(), "model.up.weight_q4");
    ASSERT_NE(up, nullptr) << "named after what the file holds";
    EXPECT_EQ(emission.bytes_.at("model.up"), 96 * kWidth / 2 + 96 * kWidth / 32 * 4);
  }
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
  Emission emission(builder.proto, {"matmulnbits", 0, false}, Precision::kHalf);
  ASSERT_TRUE(emission.plan_.linears.back().decision.halves());
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
  Emission emission(builder.proto, {"matmulnbits", 0, false}, Precision::kHalf);
  const Decision& decision = emission.plan_.linears.back().decision;
  EXPECT_TRUE(decision.keeps());
  EXPECT_THAT(decision.reason, HasSubstr("FP16 cannot hold"));
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
  options.codes = &FindLinearForm("matmulnbits");
  options.parameters.spec = {4, 32, true, ScaleType::kFloat32};
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
