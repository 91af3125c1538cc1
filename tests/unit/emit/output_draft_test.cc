// What a draft measures is what the output model writes for the same decisions, byte for byte.
#include "ptq/emit/output_draft.h"

#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "emit_testing.h"
#include "support/model_builder.h"
#include "support/temp_directory.h"
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/emit/filter_form.h"
#include "ptq/emit/table_form.h"

namespace ptq {
namespace {

using testing::GraphBuilder;
using testing::TempDirectory;

const std::vector<std::pair<std::string, std::string>> kProperties = {
    {"tool", "quantize"}, {"notes", std::string(300, 'n')}};

std::string Text(const FileSizes& sizes) {
  std::string text = std::to_string(sizes.model);
  for (const int64_t bytes : sizes.data) text += " + " + std::to_string(bytes);
  return text;
}

/// A recipe that looks at weights alone.
Recipe Rounded(const std::string& format, int bits = 4, int64_t group = 32, bool symmetric = true) {
  Recipe recipe;
  recipe.method = "rtn";
  recipe.format = format;
  recipe.bits = bits;
  recipe.group_size = group;
  recipe.symmetric = symmetric;
  recipe.head = Precision::kKeep;
  return recipe;
}

/// What a run adds that nothing but calibration decides.
enum class Adds {
  kNothing,
  kFolded,  ///< every site is scaled by its own fold, and every linear gets a bias
  kMost,    ///< the same, but no scale goes into the rows of another linear
};

/// A plan for a model, measured and carried out with random codes.
class Drafted {
 public:
  Drafted(const GraphBuilder& builder, Recipe recipe, int64_t most_bytes = 0)
      : recipe_(std::move(recipe)),
        model_(builder.Build()),
        graph_(model_),
        execution_(graph_),
        plan_(MakePlan(execution_, Options(recipe_))) {
    files_.most_bytes = most_bytes;
  }

  [[nodiscard]] FileSizes Measured(Undecided undecided = Undecided::kNothing) const {
    return DraftFiles(graph_, plan_, files_, recipe_, kProperties, undecided);
  }

  /// The files of an output model. `order`: of the linears; those whose sites are in one segment
  /// follow each other, and reused ones come at the last of theirs.
  [[nodiscard]] FileSizes Written(Adds adds = Adds::kNothing, std::vector<int> order = {}) {
    const TempDirectory directory;
    OutputModel output(graph_, plan_, directory.path(), files_);
    QuantizeOthers(output);
    size_t segment = size_t(-1);
    for (const Site& site : plan_.sites) {
      if (adds != Adds::kNothing && site.segment != segment) Scale(output, site.segment, adds);
      segment = site.segment;
      if (!order.empty()) continue;
      for (const int linear : site.linears) Quantize(output, linear, adds != Adds::kNothing);
    }
    for (const int linear : order) Quantize(output, linear, adds != Adds::kNothing);
    for (const Linear& linear : plan_.linears) {
      const bool stored = linear.decision.halves() && !plan_.half.has_value();
      if (stored) (void)output.StoreAsHalf(linear);
    }
    for (const auto& [key, value] : kProperties) output.SetMetadata(key, value);
    output.Finish();
    FileSizes sizes = {int64_t(std::filesystem::file_size(directory.path() / files_.model)), {}};
    for (const auto& data : DataFilesIn(directory.path(), files_)) {
      sizes.data.push_back(int64_t(std::filesystem::file_size(directory.path() / data)));
    }
    return sizes;
  }

  [[nodiscard]] const Plan& plan() const { return plan_; }

 private:
  static PlanOptions Options(const Recipe& recipe) {
    const LinearForm& form = FindLinearForm(recipe.format);
    PlanOptions options = PlanOptionsOf(recipe, form);
    options.table_codes = &form.tables();
    options.filter_codes = FilterForms().front();
    options.forms = CodeForms();
    return options;
  }

  QuantizedMatrix Codes(int64_t n, int64_t k, const QuantSpec& spec) {
    auto q = testing::RandomMatrix(n, k, spec.bits, spec.group_size, spec.symmetric, random_);
    q.spec = spec;
    return q;
  }

  std::vector<float> Floats(int64_t count) {
    std::vector<float> values;
    std::uniform_real_distribution<float> uniform(0.5F, 2.0F);
    for (int64_t i = 0; i < count; ++i) values.push_back(uniform(random_));
    return values;
  }

  void QuantizeOthers(OutputModel& output) {
    for (const Table& table : plan_.tables) {
      if (!table.decision.quantizes()) continue;
      (void)output.QuantizeTable(table, [&](int64_t begin, int64_t end) {
        return Codes(end - begin, table.k, table.spec());
      });
    }
    for (const Constant& constant : plan_.constants) {
      if (!constant.decision.quantizes()) continue;
      output.QuantizeFilters(constant, Codes(constant.n, constant.k, constant.spec()));
    }
  }

  void Scale(OutputModel& output, size_t segment, Adds adds) {
    for (Site site : plan_.sites) {
      if (site.segment != segment || !site.scaling_allowed) continue;
      if (adds == Adds::kMost && site.fold.kind == Fold::Kind::kLinearRows) site.fold = Fold();
      output.ScaleSite(site, Floats(plan_.linears[size_t(site.linears.front())].k));
    }
  }

  /// One weight has one set of codes.
  void Quantize(OutputModel& output, int index, bool biased) {
    const Linear& linear = plan_.linears[size_t(index)];
    if (!linear.decision.quantizes() || linear.table >= 0) return;
    if (biased && !linear.reused) output.AddBias(linear, Floats(linear.n));
    const auto [codes, added] = codes_.try_emplace(linear.part);
    if (added) codes->second = Codes(linear.n, linear.k, linear.spec());
    (void)output.Quantize(linear, codes->second);
  }

  const Recipe recipe_;
  OutputFiles files_;
  Model model_;
  Graph graph_;
  ExecutionPlan execution_;
  Plan plan_;
  std::mt19937 random_{3};
  std::map<ValueId, QuantizedMatrix> codes_;
};

/// LayerNorm → up, gate (of `n` outputs, one with a bias) → product → down; `k` channels in between
/// the layers, of which there are two.
GraphBuilder Layers(int64_t k, int64_t n, int64_t opset = 21) {
  GraphBuilder b(opset);
  b.Input("x", {3, k}).Random("gain", {k}).Random("shift", {k});
  std::string value = "x";
  for (const std::string layer : {"0", "1"}) {
    const auto of = [&](const char* name) { return name + layer; };
    b.Random(of("up.weight"), {k, n}).Random(of("up.bias"), {n});
    b.Random(of("gate.weight"), {k, n}).Random(of("down.weight"), {n, k});
    b.Op("LayerNormalization", {value, "gain", "shift"}, of("normed"));
    b.Op("MatMul", {of("normed"), of("up.weight")}, of("product"));
    b.Op("Add", {of("product"), of("up.bias")}, of("up"));
    b.Op("MatMul", {of("normed"), of("gate.weight")}, of("gate"));
    b.Op("Sigmoid", {of("gate")}, of("act")).Op("Mul", {of("up"), of("act")}, of("inner"));
    b.Op("MatMul", {of("inner"), of("down.weight")}, of("down"));
    b.Op("Add", {of("down"), value}, of("residual"));
    value = of("residual");
  }
  return b.Output(value, {3, k});
}

/// ids → table (which the head may multiply with, too) → projection → head.
GraphBuilder Embedding(int64_t k, bool tied) {
  GraphBuilder b(21);
  b.Input("ids", {-1}, DType::kInt64).Random("embed", {1030, k}).Random("proj.weight", {k, k});
  b.Op("Gather", {"embed", "ids"}, "embedded");
  b.Op("MatMul", {"embedded", "proj.weight"}, "hidden");
  if (tied) {
    b.Op("Transpose", {"embed"}, "head_weight").Ints("perm", {1, 0});
  } else {
    b.Random("head_weight", {k, 1030});
  }
  return b.Op("MatMul", {"hidden", "head_weight"}, "logits").Output("logits", {-1, 1030});
}

/// A convolution and a transposed one of two groups, and a product.
GraphBuilder Convolved() {
  GraphBuilder b(21);
  b.Input("x", {1, 15, 20}).Random("conv.weight", {34, 15, 3}).Random("up.weight", {34, 33, 1});
  b.Random("proj.weight", {20, 18});
  b.Op("Conv", {"x", "conv.weight"}, "h").Ints("pads", {1, 1});
  b.Op("ConvTranspose", {"h", "up.weight"}, "u").Int("group", 2);
  return b.Op("MatMul", {"u", "proj.weight"}, "y").Output("y", {1, 66, 18});
}

void ExpectMeasuredAsWritten(Drafted& drafted, const std::string& what) {
  EXPECT_EQ(Text(drafted.Measured()), Text(drafted.Written())) << what;
}

int Quantized(const Plan& plan) {
  return int(std::ranges::count_if(
      plan.linears, [](const Linear& linear) { return linear.decision.quantizes(); }));
}

TEST(DraftFiles, MeasuresEveryFormSpecificationAndShape) {
  for (const std::string format : {"matmulnbits", "qdq"}) {
    for (const int bits : {2, 3, 4, 8}) {
      for (const int64_t group : {0, 16, 32, 128}) {
        for (const bool symmetric : {true, false}) {
          for (const auto& [k, n] : {std::pair<int64_t, int64_t>{64, 96}, {44, 13}, {130, 36}}) {
            // QDQ has no 2 bits before opset 25.
            const auto builder = Layers(k, n, format == "qdq" && bits == 2 ? 25 : 21);
            Drafted drafted(builder, Rounded(format, bits, group, symmetric));
            ASSERT_GT(Quantized(drafted.plan()), 0);
            ExpectMeasuredAsWritten(drafted, format + ", " + std::to_string(bits) +
                                                 " bits, group " + std::to_string(group) + ", " +
                                                 std::to_string(k) + " x " + std::to_string(n) +
                                                 (symmetric ? "" : ", asymmetric"));
          }
        }
      }
    }
  }
}

TEST(DraftFiles, MeasuresTablesAndWhatIsTiedToThem) {
  for (const std::string format : {"matmulnbits", "qdq"}) {
    for (const bool tied : {true, false}) {
      for (const int64_t k : {int64_t{48}, int64_t{45}}) {
        Recipe recipe = Rounded(format, 4, 16);
        recipe.embeddings = Precision::kInt8;
        recipe.head = Precision::kInt8;
        Drafted drafted(Embedding(k, tied), recipe);
        ASSERT_EQ(drafted.plan().tables.size(), 1U);
        EXPECT_TRUE(drafted.plan().tables[0].decision.quantizes());
        ExpectMeasuredAsWritten(drafted, format + (tied ? ", tied, " : ", ") + std::to_string(k));
      }
    }
  }
}

TEST(DraftFiles, MeasuresFilters) {
  Recipe recipe = Rounded("matmulnbits");
  recipe.convolutions = Precision::kInt8;
  Drafted drafted(Convolved(), recipe);
  ASSERT_EQ(drafted.plan().constants.size(), 2U);
  for (const Constant& filters : drafted.plan().constants) {
    EXPECT_TRUE(filters.decision.quantizes()) << filters.name;
  }
  ExpectMeasuredAsWritten(drafted, "filters");
}

TEST(DraftFiles, MeasuresHalves) {
  Recipe head = Rounded("matmulnbits");
  head.head = Precision::kHalf;
  Drafted of_head(Embedding(48, false), head);
  ASSERT_TRUE(of_head.plan().linears.back().decision.halves());
  ExpectMeasuredAsWritten(of_head, "a head");
  Recipe floats = Rounded("qdq");
  floats.half_floats = true;
  Drafted of_floats(Layers(44, 13), floats);
  ExpectMeasuredAsWritten(of_floats, "other floats");
  Recipe graph = Rounded("matmulnbits");
  graph.half_compute = true;
  Drafted of_graph(Layers(44, 13), graph);
  ASSERT_TRUE(of_graph.plan().half.has_value());
  ExpectMeasuredAsWritten(of_graph, "a graph");
}

TEST(DraftFiles, CountsOneWeightsCodesOnce) {
  for (const std::string format : {"matmulnbits", "qdq"}) {
    GraphBuilder b(21);
    b.Input("x", {3, 72}).Random("twice", {72, 72}).Random("once", {72, 72});
    b.Op("MatMul", {"x", "twice"}, "a").Op("MatMul", {"a", "once"}, "b");
    b.Op("MatMul", {"b", "twice"}, "c").Output("c", {3, 72});
    Drafted drafted(b, Rounded(format));
    EXPECT_EQ(Text(drafted.Measured()), Text(drafted.Written(Adds::kNothing, {1, 0, 2})));
  }
}

TEST(DraftFiles, CountsEqualWeightsOnceWhereNothingElseDecidesTheirCodes) {
  const auto model = [](bool equal) {
    GraphBuilder b(21);
    b.Input("x", {3, 72}).Weight("first", testing::RandomTensor({72, 72}, 1, 1));
    b.Weight("other", testing::RandomTensor({72, 72}, 1, equal ? 1 : 2));
    b.Op("MatMul", {"x", "first"}, "a").Op("MatMul", {"a", "other"}, "b");
    return b.Output("b", {3, 72});
  };
  const Recipe rounded = Rounded("matmulnbits");
  Recipe calibrated = rounded;
  calibrated.method = "awq";
  const int64_t both = Drafted(model(false), rounded).Measured().Data();
  EXPECT_LT(Drafted(model(true), rounded).Measured().Data(), 0.6 * double(both));
  EXPECT_EQ(Drafted(model(true), calibrated).Measured().Data(), both);
}

TEST(DraftFiles, AddsWhatCalibrationMayDecide) {
  for (const std::string format : {"matmulnbits", "qdq"}) {
    Recipe recipe = Rounded(format);
    recipe.method = "awq";
    recipe.bias_correction = BiasCorrection::kAll;
    Drafted drafted(Layers(44, 44), recipe);
    const FileSizes nothing = drafted.Measured(Undecided::kNothing);
    const FileSizes everything = drafted.Measured(Undecided::kEverything);
    EXPECT_EQ(Text(nothing), Text(drafted.Written(Adds::kNothing)));
    EXPECT_EQ(Text(everything), Text(drafted.Written(Adds::kMost)));
    EXPECT_LE(drafted.Written(Adds::kFolded).Total(), everything.Total());
    EXPECT_LT(nothing.Total(), everything.Total());
  }
}

TEST(DraftFiles, AddsNothingWhereNothingIsUndecided) {
  const Drafted drafted(Layers(44, 13), Rounded("matmulnbits"));
  EXPECT_EQ(Text(drafted.Measured(Undecided::kEverything)), Text(drafted.Measured()));
}

TEST(DraftFiles, RefusesWhatARunRefuses) {
  Drafted drafted(Layers(44, 36), Rounded("qdq", 2));
  EXPECT_THROW((void)drafted.Written(), UnsupportedError) << "2 bits need opset 25";
  EXPECT_THROW((void)drafted.Measured(), UnsupportedError);
}

TEST(DraftFiles, KnowsWhereFilesAreCut) {
  Drafted drafted(Layers(64, 96), Rounded("matmulnbits"), 4096);
  const FileSizes sizes = drafted.Measured();
  EXPECT_GT(sizes.data.size(), 2u);
  EXPECT_EQ(Text(sizes), Text(drafted.Written()));
}

TEST(DraftFiles, WritesNothing) {
  const TempDirectory directory;
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(directory.path());
  const FileSizes sizes = Drafted(Layers(64, 96), Rounded("matmulnbits")).Measured();
  EXPECT_GT(sizes.Data(), 0);
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
  std::filesystem::current_path(before);
}

}  // namespace
}  // namespace ptq
