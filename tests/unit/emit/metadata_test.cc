// The metadata against their schema, and the totals that they hold.
#include "ptq/emit/metadata.h"

#include <limits>

#include "emit_testing.h"
#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/file.h"
#include "ptq/base/hash.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

Metadata Example() {
  Metadata metadata;
  metadata.recipe = Json{{"method", "awq"}, {"bits", 4}};
  metadata.calibration = Json{{"samples", 128}};
  metadata.source = {"model.onnx",
                     std::string(64, 'a'),
                     1000,
                     {{"model.onnx.data", 5000, std::string(64, 'b')}},
                     {{"", 17}, {"com.microsoft", 1}},
                     8};
  LinearMetadata quantized;
  quantized.name = "layers.0.q_proj";
  quantized.n = 64;
  quantized.k = 128;
  quantized.decision.form = &UnwrittenCodes();
  quantized.outcome.bytes_before = 64 * 128 * 4;
  quantized.outcome.bytes_after = 64 * 128 / 2 + 64 * 4;
  quantized.outcome.scaling = "awq";
  quantized.outcome.alpha = 0.5;
  quantized.outcome.fold = "gain";
  quantized.outcome.loss_before = 4;
  quantized.outcome.loss_after = 2;
  quantized.outcome.energy = 100;
  LinearMetadata head;
  head.name = "lm_head";
  head.decision.form = &HalfForm();
  head.n = 10;
  head.k = 20;
  head.outcome.bytes_before = 800;
  head.outcome.bytes_after = 400;
  metadata.linears = {quantized, head};
  metadata.verification = VerificationMetadata{1e-4, 1e-2};
  return metadata;
}

/// But for those that only results of some recipes have.
std::vector<std::string> Keys(const Json& object) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : object.items()) {
    if (key != "gate" && key != "model_card") keys.push_back(key);
  }
  return keys;
}

/// Compares an object with a schema's "properties": every documented field is there and no other
/// is.
void ExpectSameKeys(const Json& object, const Json& schema) {
  EXPECT_EQ(Keys(object), Keys(schema["properties"]));
  EXPECT_EQ(schema["additionalProperties"], false);
  EXPECT_EQ(Keys(object).size(), schema["required"].size());
}

TEST(Metadata, HasExactlyTheFieldsOfItsSchema) {
  const Json json = ToJson(Example());
  const Json file = Json::parse(ReadTextFile(PTQ_SCHEMA_FILE));
  const Json& schema = file["$defs"]["model"];
  ExpectSameKeys(json, schema);
  for (const char* part : {"tool", "source", "totals"}) {
    ExpectSameKeys(json[part], schema["properties"][part]);
  }
  ExpectSameKeys(json["verification"], schema["properties"]["verification"]["oneOf"][1]);
  ExpectSameKeys(json["linears"][0], file["$defs"]["linear"]);
  ExpectSameKeys(json["linears"][0]["quantized"], file["$defs"]["quantized"]);
  EXPECT_EQ(json["schema_version"], schema["properties"]["schema_version"]["const"]);
}

TEST(Metadata, SumsUpTheLinears) {
  const Json json = ToJson(Example());
  const Json& totals = json["totals"];
  EXPECT_EQ(totals["linears_quantized"], 1);
  EXPECT_EQ(totals["linears_fp16"], 1);
  EXPECT_EQ(totals["weights"], 64 * 128 + 200);
  EXPECT_EQ(totals["bytes_before"], 64 * 128 * 4 + 800);
  EXPECT_DOUBLE_EQ(totals["bits_per_quantized_weight"].get<double>(),
                   8.0 * (64 * 128 / 2 + 64 * 4) / (64 * 128));
  EXPECT_DOUBLE_EQ(json["linears"][0]["quantized"]["relative_loss"].get<double>(), 0.02);
  EXPECT_EQ(json["linears"][1]["quantized"], nullptr);
  EXPECT_EQ(json["source"]["opsets"]["ai.onnx"], 17);
}

TEST(Metadata, WritesNullForNumbersThatAreNotFinite) {
  Metadata metadata = Example();
  metadata.linears[0].outcome.loss_after = std::numeric_limits<double>::quiet_NaN();
  metadata.linears[0].outcome.energy = 0;
  metadata.verification.reset();
  metadata.calibration = nullptr;
  const Json json = ToJson(metadata);
  EXPECT_EQ(json["linears"][0]["quantized"]["loss_after"], nullptr);
  EXPECT_EQ(json["linears"][0]["quantized"]["relative_loss"], nullptr);
  EXPECT_EQ(json["verification"], nullptr);
  EXPECT_EQ(json["calibration"], nullptr);
}

TEST(Metadata, SaysWhatACodeTakesInTheFile) {
  Metadata metadata = Example();
  for (const int bits : {2, 3, 4, 8}) {
    metadata.linears[0].decision.parameters.spec.bits = bits;
    const Json quantized = ToJson(metadata)["linears"][0]["quantized"];
    EXPECT_EQ(quantized["bits"], bits);
    EXPECT_EQ(quantized["stored_bits"], bits == 3 ? 4 : bits);
  }
}

TEST(Metadata, KeepsTheRecipeVerbatim) {
  const testing::TempDirectory directory;
  const Metadata metadata = Example();
  WriteMetadata(metadata, directory.path());
  const Json json = Json::parse(ReadTextFile(directory.path() / "quantization_metadata.json"));
  EXPECT_EQ(json["recipe"].dump(), metadata.recipe.dump());
  EXPECT_EQ(json, ToJson(metadata));
}

TEST(Metadata, EmbedsASummaryInTheModel) {
  std::map<std::string, std::string> props;
  for (const auto& [key, value] : MetadataProps(Example())) props[key] = value;
  EXPECT_EQ(props.at("quantization.tool"), "quantize " + ToolJson()["version"].get<std::string>());
  EXPECT_EQ(Json::parse(props.at("quantization.recipe"))["bits"], 4);
  EXPECT_EQ(Json::parse(props.at("quantization.totals"))["linears_quantized"], 1);
}

TEST(DescribeSource, HashesTheModelFileAndNamesNoPaths) {
  const testing::TempDirectory directory;
  const std::string bytes = testing::ModelBuilder(17)
                                .Input("x", {1})
                                .Node("Relu", {"x"}, "y")
                                .Output("y", {1})
                                .proto.SerializeAsString();
  const Model model = Model::Load(directory.Write("m.onnx", bytes));
  const auto source = DescribeSource(model);
  EXPECT_EQ(source.file, "m.onnx");
  EXPECT_EQ(source.sha256, Sha256Hex(bytes));
  EXPECT_EQ(source.bytes, int64_t(bytes.size()));
  EXPECT_EQ(source.opsets.at(""), 17);
  EXPECT_EQ(source.ir_version, 8);
}

}  // namespace
}  // namespace ptq
