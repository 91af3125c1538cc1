// Views and rows of constants behind random chains of operators, which are run to compare.
#include "ptq/runtime/stored_matrix.h"

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "support/model_builder.h"
#include <gtest/gtest.h>

#include "ptq/model/constant_view.h"
#include "ptq/runtime/executor.h"

namespace ptq {
namespace {

using testing::GraphBuilder;

/// A constant "w0" and a chain of random operators behind it that only move its elements.
class Chain {
 public:
  explicit Chain(uint32_t seed) : random_(seed) {
    for (int i = 0; i < 3; ++i) shape_.push_back(Pick(2, 5) * 2);
    b_.Input("x", {1}).Random("w0", shape_, 1.0f);
    const int length = int(Pick(1, 5));
    for (int i = 0; i < length; ++i) Append();
    b_.Op("ReduceSum", {Last()}, "s").Op("Add", {"x", "s"}, "y").Output("y", {});
  }

  [[nodiscard]] std::string Last() const { return "w" + std::to_string(count_); }
  [[nodiscard]] const GraphBuilder& builder() const { return b_; }

 private:
  int64_t Pick(int64_t first, int64_t last) {
    return std::uniform_int_distribution<int64_t>(first, last)(random_);
  }
  std::string Integers(const std::vector<int64_t>& values, bool scalar = false) {
    const std::string name = "c" + std::to_string(++constants_);
    Tensor tensor(DType::kInt64, scalar ? Shape{} : Shape{int64_t(values.size())});
    std::ranges::copy(values, tensor.mutable_data<int64_t>().begin());
    b_.Weight(name, tensor);
    return name;
  }
  std::string Next() { return "w" + std::to_string(++count_); }

  void Append() {
    const std::string from = Last();
    const auto rank = int64_t(shape_.size());
    const int64_t axis = rank > 0 ? Pick(0, rank - 1) : 0;
    switch (rank < 2 ? 0 : Pick(0, 6)) {
      case 0: b_.Op("Identity", {from}, Next()); return;
      case 1: {
        std::vector<int64_t> order(size_t(rank), 0);
        for (int64_t i = 0; i < rank; ++i) order[size_t(i)] = i;
        std::ranges::shuffle(order, random_);
        Shape shape;
        for (const int64_t i : order) shape.push_back(shape_[size_t(i)]);
        b_.Op("Transpose", {from}, Next()).Ints("perm", order);
        shape_ = shape;
        return;
      }
      case 2: {
        const int64_t begin = Pick(0, std::max<int64_t>(0, shape_[size_t(axis)] - 2));
        const std::string ends = Integers({shape_[size_t(axis)] + Pick(0, 3)});
        b_.Op("Slice", {from, Integers({begin}), ends, Integers({axis - rank})}, Next());
        shape_[size_t(axis)] -= begin;
        return;
      }
      case 3: {
        const int64_t at = Pick(-shape_[size_t(axis)], shape_[size_t(axis)] - 1);
        b_.Op("Gather", {from, Integers({at}, true)}, Next()).Int("axis", axis);
        shape_.erase(shape_.begin() + axis);
        return;
      }
      case 4:
        b_.Op("Unsqueeze", {from, Integers({axis})}, Next());
        shape_.insert(shape_.begin() + axis, 1);
        return;
      case 5: {
        const Shape merged{shape_.front(), NumElements(shape_, 1, rank)};
        b_.Op("Reshape", {from, Integers({0, -1})}, Next());
        shape_ = merged;
        return;
      }
      default: b_.Op("Squeeze", {from}, Next()); std::erase(shape_, 1);
    }
  }

  std::mt19937 random_;
  GraphBuilder b_{17};
  Shape shape_;
  int count_ = 0;
  int constants_ = 0;
};

TEST(ConstantView, TellsShapesAndPlacesOfRandomChains) {
  int placed = 0;
  for (uint32_t seed = 1; seed <= 500; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const Chain chain(seed);
    const Model model = chain.builder().Build();
    const Graph graph(model);
    const Executor executor(graph);
    const ValueId id = graph.Find(chain.Last());
    const Tensor folded = executor.LoadConstant(id);  // by the operators themselves
    const auto view = ViewConstant(graph, id);
    ASSERT_TRUE(view.has_value());
    ASSERT_EQ(view->shape, folded.shape());
    ASSERT_EQ(view->stored, graph.Find("w0"));
    if (!view->placement.has_value()) continue;
    ++placed;
    const Tensor stored = executor.LoadConstant(view->stored);
    const auto own = RowMajorStrides(view->shape);
    for (int64_t i = 0; i < folded.size(); ++i) {
      int64_t at = view->placement->offset;
      for (size_t d = 0; d < own.size(); ++d) {
        at += i / own[d] % view->shape[d] * view->placement->strides[d];
      }
      ASSERT_EQ(folded.data<float>()[size_t(i)], stored.data<float>()[size_t(at)]) << i;
    }
  }
  EXPECT_GT(placed, 300);
}

TEST(FindStoredRows, GivesTheRowsOfWhateverItFinds) {
  int found = 0;
  for (uint32_t seed = 1; seed <= 500; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const Chain chain(seed);
    const Model model = chain.builder().Build();
    const Graph graph(model);
    const ValueId id = graph.Find(chain.Last());
    const Tensor folded = Executor(graph).LoadConstant(id);
    if (folded.rank() < 2) continue;
    for (const bool transposed : {false, true}) {
      const auto rows = FindStoredRows(graph, id, transposed);
      if (!rows.has_value() || (transposed && folded.rank() > 3)) continue;
      ++found;
      const int64_t cols = folded.dim(transposed ? -2 : -1);
      ASSERT_EQ(rows->cols(), cols);
      ASSERT_EQ(rows->rows() * cols, folded.size());
      const int64_t n = folded.dim(transposed ? -1 : -2);
      std::vector<float> buffer;
      const float* got = rows->Get(0, rows->rows(), buffer);
      for (int64_t r = 0; r < rows->rows(); ++r) {
        for (int64_t c = 0; c < cols; ++c) {
          const int64_t at = transposed ? r / n * n * cols + c * n + r % n : r * cols + c;
          ASSERT_EQ(got[r * cols + c], folded.data<float>()[size_t(at)]) << r << ", " << c;
        }
      }
    }
  }
  EXPECT_GT(found, 200);
}

TEST(ConstantView, DoesNotPlaceWhatIsRoundedOrComputed) {
  GraphBuilder b;
  b.Input("x", {1}).Random("w", {4, 6}).Random("gain", {6});
  b.Op("Cast", {"w"}, "half").Int("to", int64_t(DType::kFloat16));
  b.Op("Mul", {"w", "gain"}, "scaled").Op("Exp", {"w"}, "other");
  for (const std::string name : {"half", "scaled", "other"}) b.Output(name, {4, 6});
  const Model model = b.Build();
  const Graph graph(model);
  const auto half = ViewConstant(graph, graph.Find("half"));
  ASSERT_TRUE(half.has_value());
  EXPECT_EQ(half->dtype, DType::kFloat16);
  EXPECT_FALSE(half->placement.has_value());
  const auto scaled = ViewConstant(graph, graph.Find("scaled"));
  ASSERT_TRUE(scaled.has_value());
  EXPECT_EQ(scaled->stored, graph.Find("w"));
  EXPECT_FALSE(scaled->placement.has_value());
  EXPECT_FALSE(ViewConstant(graph, graph.Find("other")).has_value());
}

}  // namespace
}  // namespace ptq
