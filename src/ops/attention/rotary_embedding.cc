// Rotary position embeddings: ai.onnx RotaryEmbedding, com.microsoft RotaryEmbedding and
// MRotaryEmbedding.
#include <algorithm>
#include <numeric>

#include "arguments.h"
#include "array.h"
#include "kv_cache.h"
#include "rotary.h"

#include "ptq/ops/kernel.h"

namespace ptq {

void RotateHead(const float* from, float* to, const float* cosine, const float* sine, int64_t dims,
                int64_t head_size, bool interleaved) {
  const int64_t half = dims / 2;
  const int64_t step = interleaved ? 2 : 1;
  const int64_t partner = interleaved ? 1 : half;
  for (int64_t j = 0; j < half; ++j) {
    const float real = from[j * step];
    const float imaginary = from[j * step + partner];
    to[j * step] = cosine[j] * real - sine[j] * imaginary;
    to[j * step + partner] = sine[j] * real + cosine[j] * imaginary;
  }
  if (to != from) std::copy(from + dims, from + head_size, to + dims);
}

RotaryTable MakeRotaryTable(const Tensor& cosine, const Tensor& sine, Shape rows) {
  if (cosine.rank() < 2 || cosine.shape() != sine.shape()) {
    throw InputError("cosine and sine tables have shapes " + ToString(cosine.shape()) + " and " +
                     ToString(sine.shape()) + ", expected two equal matrices");
  }
  const int64_t half = cosine.dim(-1);
  const int64_t limit = half == 0 ? 0 : cosine.size() / half;
  for (const int64_t row : rows) {
    if (row < 0 || row >= limit) {
      throw InputError("position " + std::to_string(row) + " is outside the rotary tables of " +
                       std::to_string(limit) + " rows");
    }
  }
  return {cosine.data<float>(), sine.data<float>(), half, std::move(rows)};
}

void RotateHeads(const RotaryTable& table, bool interleaved, int64_t batches, int64_t heads,
                 int64_t tokens, int64_t head_size, const HeadView<const float>& from,
                 const HeadView<float>& to) {
  if (2 * table.half > head_size) {
    throw InputError("rotary tables rotate " + std::to_string(2 * table.half) +
                     " dimensions, a head has " + std::to_string(head_size));
  }
  if (static_cast<int64_t>(table.rows.size()) < batches * tokens) {
    throw InputError("rotary embedding: " + std::to_string(table.rows.size()) + " positions for " +
                     std::to_string(batches * tokens) + " tokens");
  }
  from.Require(batches, heads, tokens, head_size);
  to.Require(batches, heads, tokens, head_size);
  const int64_t grain =
      std::max<int64_t>(1, kElementTile / std::max<int64_t>(1, heads * head_size));
  ParallelForTiles(batches * tokens, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t batch = i / tokens;
      const int64_t token = i % tokens;
      const int64_t row = table.rows[static_cast<size_t>(i)] * table.half;
      for (int64_t head = 0; head < heads; ++head) {
        RotateHead(from.At(batch, head, token), to.At(batch, head, token),
                   table.cosine.data() + row, table.sine.data() + row, 2 * table.half, head_size,
                   interleaved);
      }
    }
  });
}

namespace {

struct RotaryAttributes {
  int64_t num_heads;
  bool interleaved;
  int64_t rotary_dims;  ///< 0: the whole head
};

RotaryAttributes ReadRotaryAttributes(const Node& node) {
  return {HeadCount(node, "num_heads", 0), node.Int("interleaved", 0) != 0,
          node.Int("rotary_embedding_dim", 0)};
}

/// Sizes of an input [B, H, T, D] or [B, T, H·D].
struct RotaryGeometry {
  int64_t batches, heads, tokens, head_size;
  bool heads_first;

  [[nodiscard]] HeadView<const float> View(std::span<const float> data) const {
    return heads_first ? HeadsFirst(data, heads, tokens, head_size)
                       : TokensFirst(data, tokens, heads * head_size, head_size);
  }
};

RotaryGeometry ReadGeometry(const Shape& shape, int64_t heads, int64_t head_size_when_unknown) {
  if (shape.size() == 4) {
    return {shape[0], shape[1], shape[2], shape[3], true};
  }
  if (shape.size() != 3) {
    throw InputError("rotary embedding of shape " + ToString(shape) +
                     ", expected 3 or 4 dimensions");
  }
  const int64_t hidden = shape[2];
  if (heads == 0 && head_size_when_unknown > 0) heads = hidden / head_size_when_unknown;
  if (heads <= 0 || hidden % heads != 0) {
    throw InputError("rotary embedding: hidden size " + std::to_string(hidden) +
                     " is not divided by num_heads " + std::to_string(heads));
  }
  return {shape[0], heads, shape[1], hidden / heads, false};
}

void Rotate(KernelContext& context, const RotaryAttributes& attributes,
            const RotaryGeometry& geometry, const RotaryTable& table) {
  const int64_t dims = attributes.rotary_dims > 0 ? attributes.rotary_dims : geometry.head_size;
  if (2 * table.half != dims) {
    throw InputError("rotary tables have " + std::to_string(table.half) +
                     " columns, expected half of the " + std::to_string(dims) +
                     " rotated dimensions");
  }
  const Shape shape = context.input(0).shape();
  const HeadView<const float> from = geometry.View(context.input(0).data<float>());
  Tensor out = ReuseInput(context, 0, DType::kFloat32, shape);
  RotateHeads(table, attributes.interleaved, geometry.batches, geometry.heads, geometry.tokens,
              geometry.head_size, from, Writable(from, out.mutable_data<float>()));
  context.set_output(0, std::move(out));
}

Shape Sequence(int64_t count, int64_t first = 0) {
  Shape values(static_cast<size_t>(count));
  std::iota(values.begin(), values.end(), first);
  return values;
}

/// One row of the tables per token. One position counts on from there; one row of them serves
/// every batch.
Shape TokenRows(Shape positions, int64_t batches, int64_t tokens, bool offset_allowed) {
  if (static_cast<int64_t>(positions.size()) == batches * tokens &&
      !(offset_allowed && positions.size() == 1)) {
    return positions;
  }
  Shape row;
  if (offset_allowed && positions.size() == 1) {
    constexpr int64_t kMost = int64_t{1} << 40;
    if (positions[0] < 0 || positions[0] > kMost) {
      throw InputError("position_ids holds " + std::to_string(positions[0]));
    }
    row = Sequence(tokens, positions[0]);
  } else if (static_cast<int64_t>(positions.size()) == tokens) {
    row = std::move(positions);
  } else {
    throw InputError("position_ids holds " + std::to_string(positions.size()) +
                     " positions, expected " + std::to_string(batches * tokens));
  }
  Shape rows;
  for (int64_t b = 0; b < batches; ++b) rows.insert(rows.end(), row.begin(), row.end());
  return rows;
}

/// Which of a token's positions (time, height, width) sets the angle of each column of the tables.
std::vector<int> PositionOfColumn(const Shape& sections, bool interleaved) {
  const int64_t half = sections[0] + sections[1] + sections[2];
  std::vector<int> axes(static_cast<size_t>(half), 0);
  for (int64_t j = 0; j < half; ++j) {
    int axis = j < sections[0] ? 0 : (j < sections[0] + sections[1] ? 1 : 2);
    if (interleaved) {
      const auto turn = static_cast<size_t>(j % 3);
      axis = turn > 0 && j < 3 * sections[turn] ? static_cast<int>(turn) : 0;
    }
    axes[static_cast<size_t>(j)] = axis;
  }
  return axes;
}

/// A table of one row per token, each column from the row of its own position.
Tensor MixRows(const Tensor& table, const Shape& positions, int64_t tokens,
               const std::vector<int>& axes) {
  const auto half = static_cast<int64_t>(axes.size());
  Tensor mixed(DType::kFloat32, {tokens, half});
  float* out = mixed.mutable_data<float>().data();
  for (int64_t token = 0; token < tokens; ++token) {
    for (int64_t j = 0; j < half; ++j) {
      const int64_t axis = axes[static_cast<size_t>(j)];
      const int64_t row = positions[static_cast<size_t>(axis * tokens + token)];
      if (row < 0 || row >= table.dim(0)) {
        throw InputError("position " + std::to_string(row) + " is outside the rotary tables of " +
                         std::to_string(table.dim(0)) + " rows");
      }
      *out++ = table.data<float>()[static_cast<size_t>(row * half + j)];
    }
  }
  return mixed;
}

}  // namespace

/// ai.onnx RotaryEmbedding: X, cos, sin, position_ids?. Without positions the tables are
/// [batch, tokens, dims / 2], one row a token.
std::unique_ptr<Kernel> MakeRotaryEmbedding(const Node& node) {
  const RotaryAttributes attributes = ReadRotaryAttributes(node);
  return MakeKernel([attributes](KernelContext& context) {
    const RotaryGeometry geometry =
        ReadGeometry(context.input(0).shape(), attributes.num_heads, attributes.rotary_dims);
    const int64_t tokens = geometry.batches * geometry.tokens;
    Shape rows;
    if (context.has_input(3)) {
      rows = TokenRows(context.input(3).ToInt64s(), geometry.batches, geometry.tokens, false);
    } else {
      const Tensor& cosine = context.input(1);
      const bool shared = cosine.rank() == 3 && cosine.dim(0) == 1;
      rows = shared ? TokenRows(Sequence(geometry.tokens), geometry.batches, geometry.tokens, false)
                    : Sequence(tokens);
    }
    // The tables live in the context's inputs, which Rotate leaves alone.
    Rotate(context, attributes, geometry,
           MakeRotaryTable(context.input(1), context.input(2), std::move(rows)));
  });
}

/// com.microsoft RotaryEmbedding: X, position_ids, cos, sin. A single position is that of the first
/// token of every batch.
std::unique_ptr<Kernel> MakeRotaryEmbeddingContrib(const Node& node) {
  const RotaryAttributes attributes = ReadRotaryAttributes(node);
  return MakeKernel([attributes](KernelContext& context) {
    const int64_t table_dims = 2 * context.input(2).dim(-1);
    const RotaryGeometry geometry =
        ReadGeometry(context.input(0).shape(), attributes.num_heads, table_dims);
    auto rows = TokenRows(context.input(1).ToInt64s(), geometry.batches, geometry.tokens,
                          context.input(1).rank() <= 1);
    Rotate(context, attributes, geometry,
           MakeRotaryTable(context.input(2), context.input(3), std::move(rows)));
  });
}

/// com.microsoft MRotaryEmbedding: X, position_ids[3, B, T], cos, sin.
std::unique_ptr<Kernel> MakeMultiAxisRotaryEmbedding(const Node& node) {
  const RotaryAttributes attributes = ReadRotaryAttributes(node);
  const Shape sections = node.Ints("mrope_section");
  constexpr int64_t kWidest = 1 << 16;  // above any head
  const auto is_odd = [](int64_t n) { return n < 0 || n > kWidest; };
  if (sections.size() != 3 || std::ranges::any_of(sections, is_odd)) {
    throw InputError("node '" + node.name() + "': mrope_section must be three sizes");
  }
  const std::vector<int> axes = PositionOfColumn(sections, node.Int("mrope_layout", 0) == 1);
  return MakeKernel([attributes, axes](KernelContext& context) {
    const auto half = static_cast<int64_t>(axes.size());
    const RotaryGeometry geometry =
        ReadGeometry(context.input(0).shape(), attributes.num_heads, 2 * half);
    const int64_t tokens = geometry.batches * geometry.tokens;
    const Shape positions = context.input(1).ToInt64s();
    for (const size_t table : {2, 3}) {
      if (context.input(table).rank() != 2 || context.input(table).dim(1) != half) {
        throw InputError("rotary tables of shape " + ToString(context.input(table).shape()) +
                         " do not have the " + std::to_string(half) + " columns of mrope_section");
      }
    }
    if (static_cast<int64_t>(positions.size()) != 3 * tokens) {
      throw InputError("position_ids holds " + std::to_string(positions.size()) +
                       " positions, expected three per token");
    }
    const Tensor cosine = MixRows(context.input(2), positions, tokens, axes);
    const Tensor sine = MixRows(context.input(3), positions, tokens, axes);
    Rotate(context, attributes, geometry, MakeRotaryTable(cosine, sine, Sequence(tokens)));
  });
}

}  // namespace ptq
