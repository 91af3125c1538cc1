// com.microsoft SparseAttention: GroupQueryAttention in which each query sees the blocks of keys
// that a layout per head names.
#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "arguments.h"
#include "makers.h"

namespace ptq {
namespace {

/// Blocks of keys that each block of queries sees, in compressed rows, one set per layout.
struct BlockLayouts {
  int64_t layouts, rows, columns;  ///< rows: block rows and one more
  Shape row_starts, block_columns;

  /// Calls visit(key block) for the blocks of one row; later rows than the last see what it sees.
  template <class Visitor>
  void ForEachBlock(int64_t layout, int64_t row, const Visitor& visit) const {
    const auto at = static_cast<size_t>(layout * rows + row);
    const int64_t end = std::min(row_starts[at + 1], columns);
    for (int64_t i = std::max<int64_t>(0, row_starts[at]); i < end; ++i) {
      visit(block_columns[static_cast<size_t>(layout * columns + i)]);
    }
  }
};

BlockLayouts ReadLayouts(const KernelContext& context, int64_t heads) {
  const Tensor& rows = context.input(5);
  const Tensor& columns = context.input(6);
  if (rows.rank() != 2 || columns.rank() != 2 || rows.dim(0) != columns.dim(0) || rows.dim(1) < 2 ||
      rows.dim(0) == 0 || heads % rows.dim(0) != 0) {
    throw InputError("SparseAttention: block indices of shapes " + ToString(rows.shape()) +
                     " and " + ToString(columns.shape()) + " do not fit " + std::to_string(heads) +
                     " heads");
  }
  return {rows.dim(0), rows.dim(1), columns.dim(1), rows.ToInt64s(), columns.ToInt64s()};
}

/// [B, H, T, S] with 0 where the layout lets a query see a key, -infinity elsewhere. `lengths` are
/// the keys of each sequence, the new ones last.
Tensor BlockBias(const BlockLayouts& layouts, const Shape& lengths, int64_t heads, int64_t queries,
                 int64_t keys, int64_t block) {
  const auto batches = static_cast<int64_t>(lengths.size());
  Tensor bias = Tensor::Filled<float>({batches, heads, queries, keys},
                                      -std::numeric_limits<float>::infinity());
  float* out = bias.mutable_data<float>().data();
  for (int64_t i = 0; i < batches * heads * queries; ++i) {
    const int64_t query = i % queries;
    const int64_t head = i / queries % heads;
    const int64_t length = lengths[static_cast<size_t>(i / queries / heads)];
    // A first prompt is padded on the right, so its tokens start at 0.
    const int64_t past = keys == queries ? 0 : std::clamp<int64_t>(length, 0, keys) - queries;
    const int64_t row = (past + query) / block;
    if (row < 0 || row + 1 >= layouts.rows) {
      throw InputError("SparseAttention: position " + std::to_string(past + query) +
                       " is outside the block layout");
    }
    layouts.ForEachBlock(head % layouts.layouts, row, [&](int64_t column) {
      if (column < 0 || column > keys / block) return;
      const int64_t end = std::min(keys, (column + 1) * block);
      for (int64_t key = column * block; key < end; ++key) out[i * keys + key] = 0.0f;
    });
  }
  return bias;
}

}  // namespace

/// com.microsoft SparseAttention: query, key?, value?, past key, past value, block rows, block
/// columns, total length, lengths of the keys, cos?, sin? -> Y, present key, present value.
std::unique_ptr<Kernel> MakeSparseAttention(const Node& node) {
  const std::shared_ptr<const Kernel> grouped = MakeGroupQueryAttention(node);
  const int64_t heads = HeadCount(node, "num_heads");
  const int64_t block = node.RequiredInt("sparse_block_size");
  constexpr int64_t kLongest = 1 << 20;
  if (block <= 0 || block > kLongest) {
    throw InputError("node '" + node.name() + "': sparse_block_size is " + std::to_string(block));
  }
  return MakeKernel([=](KernelContext& context) {
    const auto optional = [&](size_t i) {
      return context.has_input(i) ? context.input(i) : Tensor();
    };
    Shape lengths = context.input(8).ToInt64s();
    const int64_t queries = context.input(0).rank() == 3 ? context.input(0).dim(1) : 0;
    const Tensor bias = BlockBias(ReadLayouts(context, heads), lengths, heads, queries,
                                  ScalarInput(context, 7), block);
    for (int64_t& length : lengths) --length;
    const Tensor last = Tensor::From<int64_t>({static_cast<int64_t>(lengths.size())},
                                              std::span<const int64_t>(lengths));
    KernelContext inner(
        {context.input(0), optional(1), optional(2), context.input(3), context.input(4), last,
         context.input(7), optional(9), optional(10), Tensor(), bias},
        3, {true, true, true});
    grouped->Run(inner);
    for (size_t i = 0; i < 3; ++i) context.set_output(i, std::move(inner.outputs()[i]));
  });
}

}  // namespace ptq
