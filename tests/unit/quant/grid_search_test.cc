// The search grid costs no more than any grid around the range, by the diagonal alone.
#include <limits>

#include "dense_reference.h"
#include "grid/group_grid.h"

namespace ptq::testing {
namespace {

/// What nearest rounding on a grid costs one group by the diagonal alone.
double Cost(const float* w, int64_t count, float scale, int zero, const QuantSpec& spec,
            const Dense& h, int64_t begin) {
  double cost = 0;
  for (int64_t j = 0; j < count; ++j) {
    const double code = std::clamp(std::nearbyint(double(w[j]) / double(scale)) + zero, 0.0,
                                   double(spec.levels() - 1));
    const double delta = (code - zero) * double(scale) - double(w[j]);
    cost += h(begin + j, begin + j) * delta * delta;
  }
  return cost;
}

/// The least cost of the plain grid and those around it.
double LeastCost(const float* w, int64_t count, const QuantSpec& spec, const Dense& h,
                 int64_t begin) {
  double low = 0;
  double high = 0;
  for (int64_t j = 0; j < count; ++j) {
    low = std::min(low, double(w[j]));
    high = std::max(high, double(w[j]));
  }
  const double extreme = high >= -low ? high : low;
  const double whole = spec.symmetric ? -extreme / spec.mid() : (high - low) / (spec.levels() - 1);
  const auto stored = [&](double scale) {
    return spec.scale_type == ScaleType::kFloat16 ? RoundToHalf(float(scale)) : float(scale);
  };
  double least = std::numeric_limits<double>::infinity();
  const auto attempt = [&](float scale, int zero) {
    least = std::min(least, Cost(w, count, scale, zero, spec, h, begin));
  };
  for (int i = -1; i < 12; ++i) {
    const double factor = i < 0 ? 1.0 : 0.5 + 0.7 * i / 11;
    const float scale = stored(whole * factor);
    if (spec.symmetric) {
      attempt(scale, spec.mid());
      attempt(-scale, spec.mid());
      continue;
    }
    const int zero = int(std::nearbyint(-low * factor / double(scale)));
    const int around = i < 0 ? 0 : 1;  // of the plain grid, no other zero point is tried
    for (int z = zero - around; z <= zero + around; ++z) {
      attempt(scale, std::clamp(z, 0, spec.levels() - 1));
    }
  }
  return least;
}

TEST(SearchGrid, CostsNoMoreThanAnyGridAroundTheRange) {
  int fitted = 0;
  int all = 0;
  for (uint32_t seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const int64_t k = 1 + int64_t(random() % 60);
    const QuantSpec spec = RandomSpec(random);
    ForEachGram(random, k, [&](const TestedGram& gram) {
      OwnedBlock block(Normal(random, 4 * k), k, spec);
      MakeSearchGrid (*gram.view)(block.view());
      const int64_t groups = spec.GroupsFor(k);
      for (int64_t i = 0; i < 4 * groups; ++i) {
        const int64_t begin = i % groups * 16;
        const int64_t count = std::min<int64_t>(16, k - begin);
        const float* w = block.w().data() + i / groups * k + begin;
        const double own = Cost(w, count, block.q().scales[size_t(i)],
                                block.q().zero_points[size_t(i)], spec, gram.dense, begin);
        const double least = LeastCost(w, count, spec, gram.dense, begin);
        EXPECT_LE(own, least * (1 + 1e-4) + 1e-12 * gram.dense.maxCoeff()) << "group " << i;
        fitted += own < 0.999 * least;
        ++all;
      }
    });
  }
  EXPECT_GT(fitted, all / 2);  // the fit of the scale is worth something
}

/// (code − zero point) · scale for all codes of [first, last].
Values OnGrid(int first, int last, int zero, float scale) {
  Values w;
  for (int code = first; code <= last; ++code) w.push_back(float(code - zero) * scale);
  return w;
}

TEST(SearchGrid, FindsTheGridThatTheWeightsLieOn) {
  struct Case {
    Values w;
    QuantSpec spec;
    float scale;
  };
  const float scale = 0.0390625f;  // exact in binary16
  for (const ScaleType type : {ScaleType::kFloat32, ScaleType::kFloat16}) {
    for (const Case& c :
         {Case{OnGrid(1, 15, 8, scale), Spec(4, 0, true, type), scale},  // min-max takes amax/8
          Case{OnGrid(0, 15, 8, scale), Spec(4, 0, true, type), scale},
          Case{OnGrid(0, 15, 8, -scale), Spec(4, 0, true, type), -scale},
          Case{OnGrid(0, 7, 4, scale), Spec(3, 0, true, type), scale},
          Case{OnGrid(1, 14, 5, scale), Spec(4, 0, false, type), scale},
          Case{OnGrid(0, 15, 3, scale), Spec(4, 0, false, type), scale},
          Case{OnGrid(2, 15, 2, scale), Spec(4, 0, false, type), scale}}) {
      for (const char* grid : {"search", "block"}) {
        const auto k = int64_t(c.w.size());
        const LinearResult result = QuantizeAlone(c.w, k, c.spec, grid);
        EXPECT_LT(result.loss, 1e-12 * result.energy) << grid;
        EXPECT_NEAR(std::abs(result.q.scales[0]), scale, 1e-6 * scale) << grid;
        if (c.scale < 0) {
          EXPECT_LT(result.q.scales[0], 0.0f) << grid;
        }
      }
    }
  }
}

TEST(SearchGrid, LooksAtTheChannelsThatAreHeard) {
  Layer layer;
  layer.k = 4;
  layer.Observe({1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0});  // the last channel is silent
  layer.Add({0.5f, -0.5f, 0.25f, 0.9f}, Spec(4, 0, true));
  const LinearResult result = QuantizeSite(layer.Problem(), Pieces("none", "search")).linears[0];
  EXPECT_LT(result.loss, 1e-10 * result.energy);
  EXPECT_GT(result.loss_rtn, 1e-4 * result.energy);
}

TEST(SearchGrid, KeepsZeroGroupsAndExtremeSizes) {
  std::mt19937 random(70);
  for (const bool symmetric : {true, false}) {
    for (const float size : {0.0f, 1e-44f, 1e-30f, 1e30f, 3e37f}) {
      for (const char* grid : {"search", "block"}) {
        Values w = Normal(random, 32, 0.1f);
        for (float& value : w) value *= size;
        const LinearResult result = QuantizeAlone(w, 32, Spec(4, 16, symmetric), grid);
        EXPECT_TRUE(std::isfinite(result.q.scales[0]) && result.q.scales[0] != 0) << size;
        EXPECT_LE(result.loss, result.loss_rtn) << grid << size;
      }
    }
  }
}

}  // namespace
}  // namespace ptq::testing
