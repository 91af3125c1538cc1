// A constant behind random operators that only move its elements.
#pragma once

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "support/model_builder.h"

namespace ptq::testing {

/// A constant "w0" and a chain of random operators behind it that only move its elements.
class RandomChain {
 public:
  explicit RandomChain(uint32_t seed) : random_(seed) {
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

}  // namespace ptq::testing
