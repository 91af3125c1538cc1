// Distinct elements or rows, grouped by a stable sort: ai.onnx Unique.
#include <algorithm>
#include <cstring>
#include <numeric>

#include "array.h"
#include "strided.h"

#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

/// Groups of equal rows.
struct Groups {
  Shape first;    ///< per group: the first row that belongs to it
  Shape counts;   ///< per group
  Shape inverse;  ///< per row: its group
};

/// Smaller, with NaN after every number so that rows always have an order.
template <class T>
bool Less(T a, T b) {
  if (b != b) return a == a;
  return a < b;
}

template <class T>
Groups FindGroups(const T* values, int64_t rows, int64_t width, bool sorted) {
  const auto less = [&](int64_t a, int64_t b) {
    return std::lexicographical_compare(values + a * width, values + (a + 1) * width,
                                        values + b * width, values + (b + 1) * width, Less<T>);
  };
  Shape order(static_cast<size_t>(rows));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), less);
  std::vector<std::vector<int64_t>> members;
  for (const int64_t row : order) {
    if (members.empty() || less(members.back()[0], row)) members.emplace_back();
    members.back().push_back(row);
  }
  if (!sorted) std::ranges::sort(members, {}, [](const auto& group) { return group[0]; });
  Groups groups;
  groups.inverse.resize(static_cast<size_t>(rows));
  for (size_t group = 0; group < members.size(); ++group) {
    groups.first.push_back(members[group][0]);
    groups.counts.push_back(static_cast<int64_t>(members[group].size()));
    for (const int64_t row : members[group]) {
      groups.inverse[static_cast<size_t>(row)] = static_cast<int64_t>(group);
    }
  }
  return groups;
}

Tensor Vector(const Shape& values) {
  return Tensor::From<int64_t>({static_cast<int64_t>(values.size())}, std::span(values));
}

/// Order of the axes that puts `axis` first; its inverse puts it back.
Shape AxisFirst(int64_t axis, int64_t rank, bool inverse) {
  Shape perm(static_cast<size_t>(rank));
  std::iota(perm.begin(), perm.end(), 0);
  const auto from = perm.begin() + (inverse ? 0 : axis);
  const auto to = perm.begin() + (inverse ? axis : 0);
  const int64_t moved = *from;
  perm.erase(from);
  perm.insert(perm.begin() + (to - perm.begin()), moved);
  return perm;
}

void Unique(KernelContext& context, bool flat, int64_t axis, bool sorted) {
  const Tensor& input = context.input(0);
  const Tensor data = flat ? input.Reshaped({input.size()}) : input;
  axis = NormalizeAxis(flat ? 0 : axis, data.rank());
  const Tensor rows = TransposeAxes(data, AxisFirst(axis, data.rank(), false));
  const int64_t count = rows.dim(0);
  const int64_t width = NumElements(rows.shape(), 1, rows.rank());
  Groups groups;
  VisitTypes<float, int64_t, int32_t, uint8_t, int8_t, uint16_t, int16_t, uint32_t, uint64_t, bool>(
      rows.dtype(), [&](auto zero) {
        groups = FindGroups(rows.data<decltype(zero)>().data(), count, width, sorted);
      });
  Shape shape = rows.shape();
  shape[0] = static_cast<int64_t>(groups.first.size());
  Tensor kept(rows.dtype(), shape);
  const auto bytes = static_cast<size_t>(width) * ElementBytes(rows.dtype());
  std::byte* to = kept.mutable_bytes().data();
  for (const int64_t row : groups.first) {
    if (bytes > 0) std::memcpy(to, rows.bytes().data() + static_cast<size_t>(row) * bytes, bytes);
    to += bytes;
  }
  context.set_output(0, TransposeAxes(kept, AxisFirst(axis, data.rank(), true)));
  context.set_output(1, Vector(groups.first));
  context.set_output(2, Vector(groups.inverse));
  context.set_output(3, Vector(groups.counts));
}

}  // namespace

/// ai.onnx Unique: of all elements, or of the entries of one axis.
std::unique_ptr<Kernel> MakeUnique(const Node& node) {
  const bool flat = !node.HasAttribute("axis");
  const int64_t axis = node.Int("axis", 0);
  const bool sorted = node.Int("sorted", 1) != 0;
  return MakeKernel([=](KernelContext& context) { Unique(context, flat, axis, sorted); });
}

}  // namespace ptq
