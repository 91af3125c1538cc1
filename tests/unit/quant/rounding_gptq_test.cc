// GPTQ gives the codes of the textbook's algorithm.
#include <limits>
#include <numeric>

#include "dense_reference.h"

namespace ptq::testing {
namespace {

/// What the textbook gives for one row.
struct NaiveRow {
  std::vector<int> codes;
  std::vector<double> codes_before_rounding;
  std::vector<int64_t> order;
};

/// GPTQ as Frantar et al. (arXiv 2210.17323) write it, one column at a time: the inverse of the
/// damped H in the order of its falling diagonal, and that inverse's upper Cholesky factor.
class NaiveGptq {
 public:
  explicit NaiveGptq(const TestedGram& gram) : order_(size_t(gram.dense.rows())) {
    const int64_t k = gram.dense.rows();
    std::iota(order_.begin(), order_.end(), int64_t{0});
    std::ranges::stable_sort(order_, [&](int64_t a, int64_t b) {
      return gram.view->diagonal(a) > gram.view->diagonal(b);
    });
    Dense h(k, k);
    for (int64_t i = 0; i < k; ++i) {
      for (int64_t j = 0; j < k; ++j) h(i, j) = gram.dense(order_[size_t(i)], order_[size_t(j)]);
    }
    h.diagonal().array() += 0.01 * gram.dense.diagonal().mean();
    upper_ = Dense(h.inverse()).llt().matrixU();
  }

  [[nodiscard]] NaiveRow Round(const OwnedBlock& block, int64_t r) const {
    const QuantizedMatrix& q = block.q();
    NaiveRow row{std::vector<int>(size_t(q.k)), std::vector<double>(size_t(q.k)), order_};
    std::vector<double> w(static_cast<size_t>(q.k));
    for (size_t i = 0; i < w.size(); ++i) w[i] = double(block.w()[size_t(r * q.k + order_[i])]);
    for (size_t i = 0; i < w.size(); ++i) {
      const auto channel = size_t(order_[i]);
      const int64_t group = r * q.spec.GroupsFor(q.k) + order_[i] / q.spec.GroupSizeFor(q.k);
      const double scale = double(q.scales[size_t(group)]);
      const int zero = q.zero_points[size_t(group)];
      row.codes_before_rounding[channel] = w[i] / scale + zero;
      const double code =
          std::clamp(std::nearbyint(w[i] / scale) + zero, 0.0, double(q.spec.levels() - 1));
      row.codes[channel] = int(code);
      const double error = (w[i] - (code - zero) * scale) / upper_(int64_t(i), int64_t(i));
      for (size_t j = i + 1; j < w.size(); ++j) w[j] -= error * upper_(int64_t(i), int64_t(j));
    }
    return row;
  }

 private:
  std::vector<int64_t> order_;
  Dense upper_;
};

/// Whether row r has the same codes, up to a first one that could as well be rounded otherwise.
bool Agrees(const OwnedBlock& block, int64_t r, const NaiveRow& naive, int& ties) {
  for (const int64_t channel : naive.order) {
    const int code = block.q().codes[size_t(r * block.q().k + channel)];
    if (code == naive.codes[size_t(channel)]) continue;
    const double wanted = naive.codes_before_rounding[size_t(channel)];
    ++ties;
    return std::abs(std::abs(wanted - std::floor(wanted)) - 0.5) < 2e-3;
  }
  return true;
}

TEST(GptqRounding, GivesTheCodesOfTheTextbook) {
  int rows = 0;
  int ties = 0;
  for (uint32_t seed = 0; seed < 12; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const int64_t k = seed < 8 ? 1 + int64_t(random() % 60) : 129 + int64_t(random() % 80);
    const int bits = int(2 + random() % 3);
    const int64_t group = std::vector<int64_t>{0, 16, 32}[random() % 3];
    const QuantSpec spec = Spec(bits, group, seed % 2 == 0);
    ForEachGram(random, k, [&](const TestedGram& gram) {
      if (gram.view->identity()) return;
      OwnedBlock block(Normal(random, 5 * k), k, spec);
      (seed % 3 == 0 ? MakeMinmaxGrid : MakeSearchGrid) (*gram.view)(block.view());
      MakeGptqRounding (*gram.view)(block.view());
      const NaiveGptq naive(gram);
      for (int64_t r = 0; r < 5; ++r) {
        EXPECT_TRUE(Agrees(block, r, naive.Round(block, r), ties)) << "row " << r;
        ++rows;
      }
    });
  }
  EXPECT_LT(ties, rows / 20);
}

TEST(GptqRounding, IsRoundToNearestWhereChannelsAreIndependent) {
  std::mt19937 random(60);
  Layer layer;
  layer.k = 40;
  Values x(40 * 40, 0.0f);
  for (size_t j = 0; j < 40; ++j) x[j * 41] = float(j % 7);  // some channels are silent
  layer.Observe(x);
  for (const Values& gram : {layer.gram, Values()}) {
    const GramView view(gram, 40);
    OwnedBlock gptq(Normal(random, 8 * 40), 40, Spec(3, 16, false));
    OwnedBlock nearest = gptq;
    for (OwnedBlock* block : {&gptq, &nearest}) MakeMinmaxGrid(view)(block->view());
    MakeGptqRounding(view)(gptq.view());
    MakeNearestRounding(view)(nearest.view());
    EXPECT_EQ(gptq.q().codes, nearest.q().codes);
  }
}

TEST(GptqRounding, CostsFarLessThanNearestWhereChannelsCorrelate) {
  for (uint32_t seed = 100; seed < 120; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    Layer layer;
    layer.k = 64 + int64_t(random() % 100);
    layer.Observe(CorrelatedInputs(random, 5 * layer.k, layer.k));
    layer.Add(Normal(random, 32 * layer.k),
              Spec(int(2 + random() % 3), 32, seed % 2 == 0, ScaleType::kFloat16));
    const LinearResult result =
        QuantizeSite(layer.Problem(), Pieces("none", "minmax", "gptq")).linears[0];
    EXPECT_LT(result.loss, 0.75 * result.loss_rtn);
  }
}

TEST(GptqRounding, SurvivesSingularAndUselessMatrices) {
  std::mt19937 random(61);
  const int64_t k = 48;
  Layer layer;
  layer.k = k;
  layer.Add(Normal(random, 20 * k), Spec(4, 16, true));
  const auto check = [&](const char* what) {
    SCOPED_TRACE(what);
    const LinearResult result =
        QuantizeSite(layer.Problem(), Pieces("none", "search", "gptq")).linears[0];
    EXPECT_TRUE(std::isfinite(result.loss));
    EXPECT_LE(result.loss, result.loss_rtn);
    return result;
  };
  layer.Observe(Normal(random, k));  // of rank one, neither shrunk nor told the tokens
  check("one token");
  layer.Observe(CorrelatedInputs(random, 7, k));
  const LinearResult few = check("fewer tokens than channels");
  EXPECT_LT(few.loss, 0.1 * few.loss_rtn);
  Values x = Normal(random, 60 * k);
  for (size_t i = 0; i < x.size(); ++i) x[i] = x[i / size_t(k) * size_t(k)];
  layer.Observe(x);
  check("equal channels");
  layer.Observe(Values(size_t(3 * k), 0.0f));
  EXPECT_EQ(check("no activity").loss, 0.0);
  layer.gram.assign(size_t(k * k), 1.0f);
  for (int64_t j = 0; j < k; ++j) layer.gram[size_t(j * k + j)] = 0.5f;
  EXPECT_TRUE(std::isfinite(
      QuantizeSite(layer.Problem(), Pieces("none", "search", "gptq")).linears[0].loss));
  layer.Observe(CorrelatedInputs(random, 100, k));
  layer.gram[size_t(5 * k + 3)] = std::numeric_limits<float>::infinity();
  check("an infinite element");
}

}  // namespace
}  // namespace ptq::testing
