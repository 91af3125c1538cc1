// Operators that reorder whole blocks: DepthToSpace, SpaceToDepth, ReverseSequence, TensorScatter.
#include <algorithm>
#include <cstring>
#include <string>

#include "strided.h"

#include "ptq/ops/kernel.h"

namespace ptq {
namespace {

Tensor DepthToSpace(const Tensor& data, int64_t block, bool column_row_depth) {
  if (data.rank() != 4 || data.dim(1) % (block * block) != 0) {
    throw InputError("DepthToSpace: shape " + ToString(data.shape()) + " with blocks of " +
                     std::to_string(block));
  }
  const int64_t n = data.dim(0), depth = data.dim(1) / (block * block);
  const int64_t height = data.dim(2), width = data.dim(3);
  const Shape result{n, depth, height * block, width * block};
  if (column_row_depth) {
    const Tensor split = data.Reshaped({n, depth, block, block, height, width});
    return TransposeAxes(split, {0, 1, 4, 2, 5, 3}).Reshaped(result);
  }
  const Tensor split = data.Reshaped({n, block, block, depth, height, width});
  return TransposeAxes(split, {0, 3, 4, 1, 5, 2}).Reshaped(result);
}

Tensor SpaceToDepth(const Tensor& data, int64_t block) {
  if (data.rank() != 4 || data.dim(2) % block != 0 || data.dim(3) % block != 0) {
    throw InputError("SpaceToDepth: shape " + ToString(data.shape()) + " with blocks of " +
                     std::to_string(block));
  }
  const int64_t n = data.dim(0), depth = data.dim(1);
  const int64_t height = data.dim(2) / block, width = data.dim(3) / block;
  const Tensor split = data.Reshaped({n, depth, height, block, width, block});
  return TransposeAxes(split, {0, 3, 5, 1, 2, 4})
      .Reshaped({n, depth * block * block, height, width});
}

void ReverseSequence(KernelContext& context, int64_t batch_axis, int64_t time_axis) {
  const Tensor& data = context.input(0);
  const auto lengths = context.input(1).ToInt64s();
  if (data.rank() < 2 || batch_axis + time_axis != 1 || batch_axis * time_axis != 0) {
    throw InputError("ReverseSequence: batch and time must be the first two axes");
  }
  const int64_t batch = data.dim(batch_axis), time = data.dim(time_axis);
  if (static_cast<int64_t>(lengths.size()) != batch) {
    throw InputError("ReverseSequence: one length per batch entry is needed");
  }
  const int64_t run =
      NumElements(data.shape(), 2, data.rank()) * static_cast<int64_t>(ElementBytes(data.dtype()));
  const int64_t batch_stride = batch_axis == 0 ? time * run : run;
  const int64_t time_stride = batch_axis == 0 ? run : batch * run;
  Tensor result(data.dtype(), data.shape());
  std::byte* to = result.mutable_bytes().data();
  const std::byte* from = data.bytes().data();
  for (int64_t b = 0; b < batch; ++b) {
    const int64_t length = lengths[static_cast<size_t>(b)];
    if (length < 0 || length > time) throw InputError("ReverseSequence: a length is out of range");
    for (int64_t t = 0; t < time && run > 0; ++t) {
      const int64_t source = t < length ? length - 1 - t : t;
      std::memcpy(to + b * batch_stride + t * time_stride,
                  from + b * batch_stride + source * time_stride, static_cast<size_t>(run));
    }
  }
  context.set_output(0, std::move(result));
}

void TensorScatter(KernelContext& context, int64_t axis, bool circular) {
  const Tensor& update = context.input(1);
  const Shape starts = context.has_input(2) ? context.input(2).ToInt64s() : Shape();
  Tensor cache = context.TakeInput(0);
  axis = NormalizeAxis(axis, cache.rank());
  if (axis == 0 || update.rank() != cache.rank() || update.dtype() != cache.dtype() ||
      (!starts.empty() && static_cast<int64_t>(starts.size()) != cache.dim(0))) {
    throw InputError("TensorScatter: the update or its start indices do not fit the cache");
  }
  for (int64_t i = 0; i < cache.rank(); ++i) {
    if (i != axis && update.dim(i) != cache.dim(i)) {
      throw InputError("TensorScatter: an update of shape " + ToString(update.shape()) +
                       " for a cache of " + ToString(cache.shape()));
    }
  }
  const int64_t capacity = cache.dim(axis), length = update.dim(axis);
  const int64_t rows = NumElements(cache.shape(), 1, axis);
  const auto run = NumElements(cache.shape(), axis + 1, cache.rank()) *
                   static_cast<int64_t>(ElementBytes(cache.dtype()));
  std::byte* to = cache.mutable_bytes().data();
  for (int64_t b = 0; b < cache.dim(0); ++b) {
    const int64_t start = starts.empty() ? 0 : starts[static_cast<size_t>(b)];
    const bool fits = circular ? capacity > 0 || length == 0 : start <= capacity - length;
    if (start < 0 || !fits) {
      throw InputError("TensorScatter: entry " + std::to_string(start) + " + " +
                       std::to_string(length) + " is outside a cache of " +
                       std::to_string(capacity));
    }
    for (int64_t t = 0; t < length; ++t) {
      const int64_t place = circular ? (start % capacity + t) % capacity : start + t;
      CopyRows(to + (b * rows * capacity + place) * run, capacity * run,
               update.bytes().data() + (b * rows * length + t) * run, length * run, run, rows);
    }
  }
  context.set_output(0, std::move(cache));
}

int64_t BlockSize(const Node& node) {
  const int64_t block = node.RequiredInt("blocksize");
  if (block <= 0) throw InputError(node.op_type() + ": the block size must be positive");
  return block;
}

}  // namespace

/// ai.onnx DepthToSpace, mode DCR or CRD.
std::unique_ptr<Kernel> MakeDepthToSpace(const Node& node) {
  const int64_t block = BlockSize(node);
  const std::string mode = node.String("mode", "DCR");
  if (mode != "DCR" && mode != "CRD") throw UnsupportedError("DepthToSpace with mode " + mode);
  return MakeKernel([block, mode](KernelContext& context) {
    context.set_output(0, DepthToSpace(context.input(0), block, mode == "CRD"));
  });
}

/// ai.onnx SpaceToDepth.
std::unique_ptr<Kernel> MakeSpaceToDepth(const Node& node) {
  return MakeKernel([block = BlockSize(node)](KernelContext& context) {
    context.set_output(0, SpaceToDepth(context.input(0), block));
  });
}

/// ai.onnx ReverseSequence.
std::unique_ptr<Kernel> MakeReverseSequence(const Node& node) {
  const int64_t batch = node.Int("batch_axis", 1);
  const int64_t time = node.Int("time_axis", 0);
  return MakeKernel([=](KernelContext& context) { ReverseSequence(context, batch, time); });
}

/// ai.onnx TensorScatter (opset 24): writes new entries into a cache of fixed capacity.
std::unique_ptr<Kernel> MakeTensorScatter(const Node& node) {
  const int64_t axis = node.Int("axis", -2);
  const std::string mode = node.String("mode", "linear");
  if (mode != "linear" && mode != "circular") {
    throw UnsupportedError("TensorScatter with mode " + mode);
  }
  return MakeKernel(
      [axis, mode](KernelContext& context) { TensorScatter(context, axis, mode == "circular"); });
}

}  // namespace ptq
