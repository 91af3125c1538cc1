// emit_helper SRC DST NPZ FORMAT BITS GROUP(0: channel) SYMMETRIC(0|1) [scale] [half] [floats]:
// writes SRC with random codes on every linear, and the weights that those codes mean to NPZ, by
// the name of the node. With "scale", sites are scaled by random factors, too, so that the output
// must still be that of the weights in NPZ. With "half", the linears that the plan stores as FP16
// are.

#include <cmath>
#include <filesystem>
#include <iostream>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "ptq/base/error.h"
#include "ptq/base/half.h"
#include "ptq/emit/output_model.h"
#include "ptq/model/model.h"
#include "ptq/plan/plan.h"
#include "ptq/tensor/npz.h"

namespace ptq {
namespace {

struct Request {
  std::filesystem::path source, destination, weights;
  std::string format;
  QuantSpec spec;
  bool scale = false;
  bool half = false;
  bool floats = false;
};

/// Random codes of the right size, with scales that keep activations near their usual size.
QuantizedMatrix RandomMatrix(const Linear& linear, std::mt19937& random) {
  QuantizedMatrix q;
  q.spec = linear.spec();
  q.n = linear.n;
  q.k = linear.k;
  std::uniform_int_distribution<int> code(0, q.spec.levels() - 1);
  std::uniform_real_distribution<float> scale(0.5f, 1.5f);
  const float largest =
      q.spec.uniform() ? static_cast<float>(q.spec.mid()) : q.spec.codebook->largest();
  const int middle = q.spec.uniform() ? q.spec.mid() : 0;
  const float unit = 0.3f / largest / std::sqrt(static_cast<float>(q.k) / 16.0f);
  for (int64_t i = 0; i < q.n * q.k; ++i) q.codes.push_back(static_cast<uint8_t>(code(random)));
  for (int64_t i = 0; i < q.n * q.spec.GroupsFor(q.k); ++i) {
    const float sign = i % 3 == 0 ? -1.0f : 1.0f;
    const float value = sign * unit * scale(random);
    q.scales.push_back(q.spec.scale_type == ScaleType::kFloat16 ? RoundToHalf(value) : value);
    q.zero_points.push_back(static_cast<uint8_t>(q.spec.symmetric ? middle : code(random)));
  }
  return q;
}

Tensor Dequantized(const QuantizedMatrix& q, const std::vector<float>& column_scale) {
  Tensor w(DType::kFloat32, {q.n, q.k});
  const auto out = w.mutable_data<float>();
  const int64_t groups = q.spec.GroupsFor(q.k);
  for (int64_t n = 0; n < q.n; ++n) {
    for (int64_t k = 0; k < q.k; ++k) {
      const auto group = static_cast<size_t>(n * groups + k / q.spec.GroupSizeFor(q.k));
      const auto i = static_cast<size_t>(n * q.k + k);
      float value = q.spec.Level(q.codes[i], q.zero_points[group]) * q.scales[group];
      // The graph divides the activation by the site's scale.
      if (!column_scale.empty()) value /= column_scale[static_cast<size_t>(k)];
      out[i] = value;
    }
  }
  return w;
}

std::vector<float> RandomScale(int64_t k, std::mt19937& random) {
  // Powers of two are exact in every float type, so the comparison sees no rounding.
  std::uniform_int_distribution<int> exponent(-2, 2);
  std::vector<float> scale;
  for (int64_t i = 0; i < k; ++i) scale.push_back(std::exp2(static_cast<float>(exponent(random))));
  return scale;
}

void Run(const Request& request) {
  const Model model = Model::Load(request.source);
  const Graph graph(model);
  const ExecutionPlan execution(graph);
  PlanOptions options;
  options.codes = &FindLinearForm(request.format);
  options.forms = CodeForms();
  options.parameters = {request.spec, /*accuracy_level=*/0};
  options.half_floats = request.floats;
  options.head = request.half ? Precision::kHalf : Precision::kKeep;
  const Plan plan = MakePlan(execution, options);
  std::filesystem::create_directories(request.destination);
  OutputModel output(graph, plan, request.destination, OutputFiles());
  std::mt19937 random(13);
  std::map<int, std::vector<float>> columns, rows;
  if (request.scale) {
    for (const Site& site : plan.sites) {
      if (!site.scaling_allowed) continue;
      auto scale = RandomScale(plan.linears[static_cast<size_t>(site.linears[0])].k, random);
      if (site.fold.kind == Fold::Kind::kLinearRows) {
        // A row may feed several channels, which then share its scale.
        auto& row = rows[site.fold.linear];
        row.assign(static_cast<size_t>(plan.linears[size_t(site.fold.linear)].n), 0.0f);
        for (size_t c = 0; c < scale.size(); ++c) {
          float& known = row[size_t(site.fold.row_of_channel[c])];
          if (known == 0.0f) known = scale[c];
          scale[c] = known;
        }
        for (float& value : row) value = value == 0.0f ? 1.0f : value;
      }
      output.ScaleSite(site, scale);
      for (const int index : site.linears) columns[index] = scale;
      std::cout << "scaled " << graph.value(site.value).name << " by fold "
                << static_cast<int>(site.fold.kind) << "\n";
    }
  }
  std::map<std::string, Tensor> weights;
  std::map<ValueId, QuantizedMatrix> shared;
  for (size_t i = 0; i < plan.linears.size(); ++i) {
    const Linear& linear = plan.linears[i];
    const std::string& node = graph.nodes()[static_cast<size_t>(linear.node)].output(0);
    if (linear.decision.halves()) {
      std::cout << "half " << linear.name << " " << output.StoreAsHalf(linear) << "\n";
    }
    if (!linear.decision.quantizes()) continue;
    QuantizedMatrix q = RandomMatrix(linear, random);
    if (linear.reused) q = shared.try_emplace(linear.stored, q).first->second;
    const int index = static_cast<int>(i);
    weights[node] = Dequantized(q, columns[index]);
    if (rows.contains(index)) {
      // The weights in NPZ are those before the rows' factor goes into the codes' scales.
      const int64_t groups = q.spec.GroupsFor(q.k);
      for (int64_t n = 0; n < q.n; ++n) {
        for (int64_t g = 0; g < groups; ++g) {
          q.scales[static_cast<size_t>(n * groups + g)] /= rows[index][static_cast<size_t>(n)];
        }
      }
    }
    std::cout << "quantized " << linear.name << " " << output.Quantize(linear, q) << "\n";
  }
  output.SetMetadata("ptq.test", "yes");
  output.Finish();
  WriteNpz(request.weights, weights);
}

}  // namespace
}  // namespace ptq

int main(int argc, char** argv) {
  if (argc < 8) return 2;
  ptq::Request request{argv[1], argv[2], argv[3], argv[4], {}, false, false, false};
  request.spec.bits = std::stoi(argv[5]);
  request.spec.group_size = std::stoll(argv[6]);
  request.spec.symmetric = std::string(argv[7]) == "1";
  const std::set<std::string> flags(argv + 8, argv + argc);
  request.scale = flags.contains("scale");
  request.half = flags.contains("half");
  request.floats = flags.contains("floats");
  try {
    ptq::Run(request);
  } catch (const ptq::Error& error) {
    std::cerr << error.what() << "\n";
    return static_cast<int>(error.code());
  }
  return 0;
}
