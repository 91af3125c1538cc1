// com.microsoft EmbedLayerNormalization and QEmbedLayerNormalization: the sum of BERT's embeddings,
// normalised.
#include <vector>

#include "array.h"
#include "makers.h"
#include "norm_rows.h"

#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

struct EmbedInput {
  enum : size_t {
    kIds,
    kSegments,
    kWordTable,
    kPositionTable,
    kSegmentTable,
    kGamma,
    kBeta,
    kMask,
    kPositions
  };
};

/// Row `row` of table[rows, width].
ConstArrayMap<float> RowOf(const Tensor& table, int64_t row, int64_t width, const char* what) {
  if (table.rank() != 2 || table.dim(1) != width || row < 0 || row >= table.dim(0)) {
    throw InputError("EmbedLayerNormalization: " + std::string(what) + " " + std::to_string(row) +
                     " is outside its table of shape " + ToString(table.shape()));
  }
  return {table.data<float>().data() + row * width, width};
}

/// Word, position and segment embeddings of every token, added up.
Tensor SumEmbeddings(const KernelContext& context, int64_t batches, int64_t tokens) {
  const Shape ids = context.input(EmbedInput::kIds).ToInt64s();
  const Tensor& words = context.input(EmbedInput::kWordTable);
  const int64_t width = words.dim(-1);
  Shape segments, positions;
  const bool segmented =
      context.has_input(EmbedInput::kSegments) && context.has_input(EmbedInput::kSegmentTable);
  if (segmented) segments = context.input(EmbedInput::kSegments).ToInt64s();
  if (context.has_input(EmbedInput::kPositions))
    positions = context.input(EmbedInput::kPositions).ToInt64s();
  if (segmented && segments.size() != ids.size()) {
    throw InputError("EmbedLayerNormalization: segment_ids and input_ids differ in size");
  }
  const auto position_count = static_cast<int64_t>(positions.size());
  if (context.has_input(EmbedInput::kPositions) && position_count != tokens &&
      position_count != batches * tokens) {
    throw InputError("EmbedLayerNormalization: position_ids do not fit input_ids");
  }
  Tensor sum(DType::kFloat32, {batches, tokens, width});
  float* out = sum.mutable_data<float>().data();
  for (int64_t i = 0; i < batches * tokens; ++i) {
    const int64_t token = i % tokens;
    const int64_t position =
        positions.empty() ? token : positions[static_cast<size_t>(i % position_count)];
    ArrayMap<float> row(out + i * width, width);
    row = RowOf(words, ids[static_cast<size_t>(i)], width, "word") +
          RowOf(context.input(EmbedInput::kPositionTable), position, width, "position");
    if (segmented) {
      row += RowOf(context.input(EmbedInput::kSegmentTable), segments[static_cast<size_t>(i)],
                   width, "segment");
    }
  }
  return sum;
}

/// Tokens of each sequence that the mask keeps, or 0 without a mask.
Tensor CountMask(const KernelContext& context, int64_t batches, int64_t tokens) {
  Tensor counts = Tensor::Filled<int32_t>({batches}, 0);
  if (!context.has_input(EmbedInput::kMask)) return counts;
  const Shape mask = context.input(EmbedInput::kMask).ToInt64s();
  if (static_cast<int64_t>(mask.size()) != batches * tokens) {
    throw InputError("EmbedLayerNormalization: the mask does not fit input_ids");
  }
  const auto to = counts.mutable_data<int32_t>();
  for (size_t i = 0; i < mask.size(); ++i) {
    to[i / static_cast<size_t>(tokens)] += mask[i] == 1 ? 1 : 0;
  }
  return counts;
}

}  // namespace

/// Inputs as in the enumeration above; outputs (normalised, mask index, sum?).
std::unique_ptr<Kernel> MakeEmbedLayerNormalization(const Node& node) {
  const NormSpec spec{true, node.Float("epsilon", 1e-12f)};
  return MakeKernel([spec](KernelContext& context) {
    const Shape ids = context.input(EmbedInput::kIds).shape();
    if (ids.size() != 2) {
      throw InputError("EmbedLayerNormalization: input_ids have shape " + ToString(ids) +
                       ", expected two dimensions");
    }
    Tensor sum = SumEmbeddings(context, ids[0], ids[1]);
    const Shape shape = sum.shape();
    const float* from = sum.data<float>().data();
    const bool keep = context.wants(2);
    Tensor out = keep ? Tensor(DType::kFloat32, shape) : std::move(sum);
    NormalizeRows(spec, from, ids[0] * ids[1], shape[2],
                  ReadNormParameter(context.input(EmbedInput::kGamma), shape, 2),
                  ReadNormParameter(context.input(EmbedInput::kBeta), shape, 2),
                  out.mutable_data<float>().data(), nullptr, nullptr);
    context.set_output(0, std::move(out));
    if (context.wants(1)) context.set_output(1, CountMask(context, ids[0], ids[1]));
    // NOLINTNEXTLINE(bugprone-use-after-move): moved from above only when it is not kept
    if (keep) context.set_output(2, std::move(sum));
  });
}

/// com.microsoft QEmbedLayerNormalization: the same with all tables, gamma and beta as codes, then
/// the mask, five scales and five zero points; no positions.
std::unique_ptr<Kernel> MakeQEmbedLayerNormalization(const Node& node) {
  const std::shared_ptr<const Kernel> dequantize = MakeDequantizeLinear(node);
  const std::shared_ptr<const Kernel> plain = MakeEmbedLayerNormalization(node);
  return MakeKernel([dequantize, plain](KernelContext& context) {
    const auto optional = [&](size_t i) {
      return context.has_input(i) ? context.input(i) : Tensor();
    };
    std::vector<Tensor> inputs = {context.input(EmbedInput::kIds), optional(EmbedInput::kSegments)};
    for (size_t i = 0; i < 5; ++i) {
      const bool absent = !context.has_input(EmbedInput::kWordTable + i);
      inputs.push_back(absent ? Tensor()
                              : RunKernel(*dequantize, {context.input(EmbedInput::kWordTable + i),
                                                        context.input(8 + i), optional(13 + i)}));
    }
    inputs.push_back(optional(EmbedInput::kMask));
    KernelContext inner(std::move(inputs), 2, {true, context.wants(1)});
    plain->Run(inner);
    for (size_t i = 0; i < 2; ++i) context.set_output(i, std::move(inner.outputs()[i]));
  });
}

}  // namespace ptq
