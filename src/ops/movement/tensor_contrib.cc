// Small operators of com.microsoft on tensors: ExpandDims, UnfoldTensor, DynamicTimeWarping,
// NGramRepeatBlock, Unique, Inverse, CDist, BiasSoftmax, BiasDropout.
#include <Eigen/LU>
#include <algorithm>
#include <limits>
#include <string>
#include <unordered_map>
#include <vector>

#include "arguments.h"
#include "array.h"
#include "makers.h"
#include "strided.h"

namespace ptq {
namespace {

/// Slices of `size` elements along `axis`, `step` apart, as a new last axis.
Tensor Unfold(const Tensor& x, int64_t axis, int64_t size, int64_t step) {
  axis = NormalizeAxis(axis, x.rank());
  const int64_t length = x.dim(axis);
  if (size <= 0 || step <= 0 || size > length) {
    throw InputError("UnfoldTensor: slices of " + std::to_string(size) + " elements, " +
                     std::to_string(step) + " apart, of " + std::to_string(length));
  }
  StridedView view{x.shape(), RowMajorStrides(x.shape())};
  const auto at = static_cast<size_t>(axis);
  view.shape[at] = (length - size) / step + 1;
  view.shape.push_back(size);
  view.strides.push_back(view.strides[at]);
  view.strides[at] *= step;
  return Materialize(x, view);
}

/// The cheapest path through cost[rows, columns] from the first to the last element, as [2,
/// length]. Ties go as in the reference implementation of Whisper.
Tensor WarpTime(const float* cost, int64_t rows, int64_t columns) {
  enum Step : char { kDiagonal, kDown, kRight };
  const int64_t width = columns + 1;
  std::vector<float> total(static_cast<size_t>((rows + 1) * width),
                           std::numeric_limits<float>::infinity());
  std::vector<Step> steps(total.size(), kDiagonal);
  total[0] = 0.0f;
  for (int64_t c = 1; c <= columns; ++c) {
    for (int64_t r = 1; r <= rows; ++r) {
      const float diagonal = total[static_cast<size_t>((r - 1) * width + c - 1)];
      const float down = total[static_cast<size_t>((r - 1) * width + c)];
      const float right = total[static_cast<size_t>(r * width + c - 1)];
      const Step step = diagonal < down && diagonal < right ? kDiagonal
                        : down < diagonal && down < right   ? kDown
                                                            : kRight;
      const auto at = static_cast<size_t>(r * width + c);
      steps[at] = step;
      total[at] = cost[(r - 1) * columns + c - 1] +
                  (step == kDiagonal ? diagonal : (step == kDown ? down : right));
    }
  }
  std::vector<int32_t> path_rows, path_columns;
  for (int64_t r = rows, c = columns; r > 0 || c > 0;) {
    path_rows.push_back(static_cast<int32_t>(r - 1));
    path_columns.push_back(static_cast<int32_t>(c - 1));
    const Step step =
        r == 0 ? kRight : (c == 0 ? kDown : steps[static_cast<size_t>(r * width + c)]);
    if (step != kRight) --r;
    if (step != kDown) --c;
  }
  const auto length = static_cast<int64_t>(path_rows.size());
  Tensor path(DType::kInt32, {2, length});
  int32_t* out = path.mutable_data<int32_t>().data();
  std::copy(path_rows.rbegin(), path_rows.rend(), out);
  std::copy(path_columns.rbegin(), path_columns.rend(), out + length);
  return path;
}

/// Sets the score of each token to -infinity that would repeat `size` tokens of `ids` in a row.
void BlockRepeats(const Shape& ids, int64_t batches, int64_t size, Tensor& scores) {
  const int64_t tokens = static_cast<int64_t>(ids.size()) / std::max<int64_t>(1, batches);
  const int64_t vocabulary = scores.dim(1);
  float* out = scores.mutable_data<float>().data();
  for (int64_t b = 0; b < batches; ++b) {
    const auto row = ids.begin() + b * tokens;
    const auto last = row + tokens - (size - 1);
    for (int64_t i = 0; i + size <= tokens; ++i) {
      if (!std::equal(row + i, row + i + size - 1, last)) continue;
      const int64_t token = row[i + size - 1];
      if (token < 0 || token >= vocabulary) {
        throw InputError("NGramRepeatBlock: token " + std::to_string(token) +
                         " is outside the vocabulary");
      }
      out[b * vocabulary + token] = -std::numeric_limits<float>::infinity();
    }
  }
}

void RunUnique(KernelContext& context) {
  const auto x = context.input(0).data<float>();
  std::unordered_map<float, int64_t> places;
  std::vector<float> values;
  std::vector<int64_t> index, counts;
  for (const float value : x) {
    const auto [found, fresh] = places.emplace(value, static_cast<int64_t>(values.size()));
    if (fresh) {
      values.push_back(value);
      counts.push_back(0);
    }
    index.push_back(found->second);
    ++counts[static_cast<size_t>(found->second)];
  }
  const auto count = static_cast<int64_t>(values.size());
  context.set_output(0, Tensor::From<float>({count}, std::span<const float>(values)));
  context.set_output(1, Tensor::From<int64_t>({static_cast<int64_t>(index.size())},
                                              std::span<const int64_t>(index)));
  context.set_output(2, Tensor::From<int64_t>({count}, std::span<const int64_t>(counts)));
}

void RunInverse(KernelContext& context) {
  using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Tensor& x = context.input(0);
  if (x.rank() < 2 || x.dim(-1) != x.dim(-2)) {
    throw InputError("Inverse: matrices of shape " + ToString(x.shape()) + " are not square");
  }
  const int64_t n = x.dim(-1);
  Tensor out(DType::kFloat32, x.shape());
  const float* from = x.data<float>().data();
  float* to = out.mutable_data<float>().data();
  for (int64_t i = 0; i < x.size(); i += n * n) {
    Eigen::Map<Matrix>(to + i, n, n) =
        Eigen::Map<const Matrix>(from + i, n, n).cast<double>().inverse().cast<float>();
  }
  context.set_output(0, std::move(out));
}

void RunDistances(KernelContext& context, bool squared) {
  const Tensor& a = context.input(0);
  const Tensor& b = context.input(1);
  if (a.rank() != 2 || b.rank() != 2 || a.dim(1) != b.dim(1)) {
    throw InputError("CDist: shapes " + ToString(a.shape()) + " and " + ToString(b.shape()));
  }
  const int64_t width = a.dim(1);
  Tensor out(DType::kFloat32, {a.dim(0), b.dim(0)});
  float* to = out.mutable_data<float>().data();
  for (int64_t i = 0; i < out.size(); ++i) {
    const ConstArrayMap<float> left(a.data<float>().data() + i / b.dim(0) * width, width);
    const ConstArrayMap<float> right(b.data<float>().data() + i % b.dim(0) * width, width);
    const float sum = (left - right).square().sum();
    to[i] = squared ? sum : std::sqrt(sum);
  }
  context.set_output(0, std::move(out));
}

}  // namespace

/// com.microsoft ExpandDims: X, axis.
std::unique_ptr<Kernel> MakeExpandDims(const Node&) {
  return MakeKernel([](KernelContext& context) {
    Shape shape = context.input(0).shape();
    const int64_t axis = NormalizeAxis(ScalarInput(context, 1), context.input(0).rank() + 1);
    shape.insert(shape.begin() + axis, 1);
    context.set_output(0, context.input(0).Reshaped(std::move(shape)));
  });
}

/// com.microsoft UnfoldTensor.
std::unique_ptr<Kernel> MakeUnfoldTensor(const Node& node) {
  return MakeKernel([axis = node.Int("dim", -1), size = node.RequiredInt("size"),
                     step = node.Int("step", 1)](KernelContext& context) {
    context.set_output(0, Unfold(context.input(0), axis, size, step));
  });
}

/// com.microsoft DynamicTimeWarping: cost[M, N] or [1, M, N] -> path[2, L].
std::unique_ptr<Kernel> MakeDynamicTimeWarping(const Node&) {
  return MakeKernel([](KernelContext& context) {
    const Tensor& cost = context.input(0);
    if (cost.rank() != 2 && !(cost.rank() == 3 && cost.dim(0) == 1)) {
      throw InputError("DynamicTimeWarping: a cost of shape " + ToString(cost.shape()));
    }
    context.set_output(0, WarpTime(cost.data<float>().data(), cost.dim(-2), cost.dim(-1)));
  });
}

/// com.microsoft NGramRepeatBlock: ids[B, T], scores[B, V] -> scores.
std::unique_ptr<Kernel> MakeNGramRepeatBlock(const Node& node) {
  const int64_t size = node.RequiredInt("ngram_size");
  if (size <= 0) throw InputError("node '" + node.name() + "': ngram_size is not positive");
  return MakeKernel([size](KernelContext& context) {
    const Tensor& ids = context.input(0);
    Tensor scores = context.input(1);
    if (ids.rank() != 2 || scores.rank() != 2 || ids.dim(0) != scores.dim(0)) {
      throw InputError("NGramRepeatBlock: ids " + ToString(ids.shape()) + " and scores " +
                       ToString(scores.shape()) + " do not fit");
    }
    BlockRepeats(ids.ToInt64s(), ids.dim(0), size, scores);
    context.set_output(0, std::move(scores));
  });
}

/// com.microsoft Unique: X -> values in order of appearance, their index for each element, counts.
std::unique_ptr<Kernel> MakeUniqueContrib(const Node&) { return MakeKernel(RunUnique); }

/// com.microsoft Inverse of square matrices.
std::unique_ptr<Kernel> MakeInverse(const Node&) { return MakeKernel(RunInverse); }

/// com.microsoft CDist: A[M, N], B[K, N] -> distances[M, K].
std::unique_ptr<Kernel> MakeCDist(const Node& node) {
  const std::string metric = node.String("metric", "sqeuclidean");
  if (metric != "euclidean" && metric != "sqeuclidean") {
    throw UnsupportedError("node '" + node.name() + "': CDist with metric '" + metric + "'");
  }
  return MakeKernel([squared = metric == "sqeuclidean"](KernelContext& context) {
    RunDistances(context, squared);
  });
}

/// com.microsoft BiasSoftmax: softmax(X + bias) over all axes from `axis` on.
std::unique_ptr<Kernel> MakeBiasSoftmax(const Node& node) {
  const std::shared_ptr<const Kernel> add = MakeAdd(node);
  // As Softmax of ai.onnx before 13, which takes all these axes as one.
  const std::shared_ptr<const Kernel> softmax = MakeSoftmax(Node(node.proto(), 12));
  return MakeKernel([add, softmax](KernelContext& context) {
    context.set_output(
        0, RunKernel(*softmax, {RunKernel(*add, {context.input(0), context.input(1)})}));
  });
}

/// com.microsoft BiasDropout outside training: X + bias (+ residual).
std::unique_ptr<Kernel> MakeBiasDropout(const Node& node) {
  const std::shared_ptr<const Kernel> add = MakeAdd(node);
  return MakeKernel([add](KernelContext& context) {
    if (context.has_input(4) && context.input(4).Cast(DType::kInt32).ToInt64s()[0] != 0) {
      throw UnsupportedError("BiasDropout in training mode; export the model for inference");
    }
    Tensor sum = RunKernel(*add, {context.input(0), context.input(1)});
    if (context.has_input(2)) sum = RunKernel(*add, {sum, context.input(2)});
    context.set_output(1, Tensor::Filled<bool>(sum.shape(), true));
    context.set_output(0, std::move(sum));
  });
}

}  // namespace ptq
