// The forms of tables: com.microsoft GatherBlockQuantized, which looks rows up in packed blocks,
// and plain Gathers of INT8 rows and of their scales. A DequantizeLinear in front of a Gather would
// expand the whole table at every run.

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "bit_packing.h"
#include "form_nodes.h"
#include "forms.h"
#include "nbits_blocks.h"

#include "ptq/base/error.h"
#include "ptq/emit/stored_codes.h"

namespace ptq {
namespace {

/// Weights whose codes are held at once.
constexpr int64_t kHeldWeights = int64_t{1} << 20;
/// Of a table with 8 bits. Measured on the words of all-MiniLM-L6-v2 (384 wide), relative error of
/// a row: groups of 32 .0058 in 1.125 bytes a weight, of 128 .0066 in 1.031, of 256 .0069 in 1.021;
/// a lookup of groups of 32 takes twice as long as one of 128.
constexpr int64_t kWideGroup = 128;
/// The first opset whose Slice takes its bounds as inputs.
constexpr int64_t kSliceOpset = 10;
/// The first opset whose operators broadcast by themselves.
constexpr int64_t kBroadcastOpset = 7;

/// What belongs to the rows of a table, beside their codes.
struct Grid {
  std::vector<float> scales;
  std::vector<std::byte> zero_points;
};

/// Streams the codes of a table, and collects the rest: `pack` gives the bytes of some rows,
/// `collect` takes what else they have.
template <class Pack, class Collect>
std::string StreamCodes(const TableToEmit& table, DType dtype, const Shape& shape, TensorSink& sink,
                        const Pack& pack, const Collect& collect) {
  const int64_t rows = std::max<int64_t>(1, kHeldWeights / table.k);
  const std::string name = table.name + ".weight_q" + std::to_string(table.spec.bits);
  return sink.Stream(name, dtype, shape, [&](const TensorSink::Write& write) {
    for (int64_t begin = 0; begin < table.n; begin += rows) {
      const QuantizedMatrix q = table.rows(begin, std::min(table.n, begin + rows));
      write(pack(q));
      collect(q);
    }
  });
}

/// The node's output, through what is to stand behind it.
class Behind {
 public:
  Behind(const LookupToEmit& lookup, DType inner, DType type)
      : lookup_(lookup), casts_(inner != type), type_(type) {}
  /// The name that the last node but the Cast gives.
  [[nodiscard]] std::string name() const { return lookup_.output + (casts_ ? "_wide" : ""); }
  [[nodiscard]] std::vector<onnx::NodeProto> With(std::vector<onnx::NodeProto> nodes) const {
    if (casts_) {
      nodes.push_back(MakeCast(lookup_.node_name + "/cast", name(), lookup_.output, type_));
    }
    return nodes;
  }

 private:
  const LookupToEmit& lookup_;
  bool casts_;
  DType type_;
};

class GatherBlocks : public TableForm {
 public:
  [[nodiscard]] std::string_view name() const override { return "gatherblockquantized"; }

  void CheckSpec(const QuantSpec& spec) const override {
    CheckBlocks("GatherBlockQuantized", spec);
  }

  [[nodiscard]] QuantSpec Preferred(const QuantSpec& spec) const override {
    QuantSpec preferred = spec;
    if (spec.bits == 8 || spec.group_size == 0) preferred.group_size = kWideGroup;
    return preferred;
  }

  [[nodiscard]] bool Serves(const Form& other) const override {
    return &other == &MatMulNBitsForm();
  }

  [[nodiscard]] std::string Refusal(const TensorFacts& tensor,
                                    const FormParameters& parameters) const override {
    const QuantSpec spec = AsStored(parameters.spec);
    if (!tensor.tied) {
      if (tensor.k * spec.bits % 8 == 0) return "";
      return "rows of " + std::to_string(tensor.k) + " weights of " + std::to_string(spec.bits) +
             " bits do not fill bytes";
    }
    const Blocks blocks = BlocksOf(spec, tensor.k);
    if (tensor.k % blocks.size == 0 || tensor.opset >= kSliceOpset) return "";
    return "the codes of a product are padded, which the model's opset " +
           std::to_string(tensor.opset) + " cannot cut off";
  }

  [[nodiscard]] int64_t Bytes(const TensorFacts& tensor,
                              const FormParameters& parameters) const override {
    const QuantSpec spec = AsStored(parameters.spec);
    return tensor.n *
           (CodeBytes(spec, tensor.k, tensor.tied) + GridBytes(spec, tensor.k, tensor.compute));
  }

  void PrepareModel(onnx::ModelProto& model) const override { RaiseOpset(model, kBlocksDomain, 1); }

  // Linears read the same tensors: their codes are padded to whole blocks, and another shape.
  [[nodiscard]] TableNodes Emit(const TableToEmit& table, TensorSink& sink) const override {
    CheckSpec(table.spec);
    const bool tied = !table.linears.empty();
    const Blocks blocks = BlocksOf(table.spec, table.k);
    const StoredBlocks weight = Store(table, blocks, tied, sink);
    TableNodes nodes;
    for (const LookupToEmit& lookup : table.lookups) {
      nodes.lookups.push_back(Lookup(table, lookup, weight, tied, sink));
    }
    for (const LinearToEmit& linear : table.linears) {
      const Shape shape{table.n, blocks.count, PackedBytes(blocks.size, table.spec.bits)};
      StoredBlocks reshaped = weight;
      reshaped.codes = linear.output + "_weight_blocks";
      std::vector<onnx::NodeProto> all = {MakeNode(
          "Reshape", linear.node_name + "/blocks",
          {weight.codes, AddIntegers(sink, table.name + ".blocks_shape", shape)}, reshaped.codes)};
      for (auto& node : MatMulNBitsNodes(linear, reshaped)) all.push_back(std::move(node));
      nodes.linears.push_back(std::move(all));
    }
    return nodes;
  }

 private:
  static StoredBlocks Store(const TableToEmit& table, const Blocks& blocks, bool padded,
                            TensorSink& sink) {
    StoredBlocks weight{table.spec, table.n, table.k, "", "", ""};
    Grid grid;
    weight.codes = StreamCodes(
        table, DType::kUint8, {table.n, CodeBytes(table.spec, table.k, padded)}, sink,
        [&](const QuantizedMatrix& q) { return PackCodes(q, blocks, padded); },
        [&](const QuantizedMatrix& q) {
          const std::vector<float> scales = ScalesOf(q, blocks);
          grid.scales.insert(grid.scales.end(), scales.begin(), scales.end());
          if (table.spec.symmetric) return;
          const std::vector<std::byte> zeros = PackZeroPoints(q, blocks);
          grid.zero_points.insert(grid.zero_points.end(), zeros.begin(), zeros.end());
        });
    weight.scales = AddFloats(sink, table.name + ".weight_scales", ScaleTypeFor(table.type),
                              {table.n, blocks.count}, [&] { return std::move(grid.scales); });
    if (table.spec.symmetric) return weight;
    weight.zero_points = sink.AddPacked(table.name + ".weight_zero_points", DType::kUint8,
                                        {table.n, PackedBytes(blocks.count, table.spec.bits)},
                                        [&] { return std::move(grid.zero_points); });
    return weight;
  }

  static std::vector<onnx::NodeProto> Lookup(const TableToEmit& table, const LookupToEmit& lookup,
                                             const StoredBlocks& weight, bool padded,
                                             TensorSink& sink) {
    const Behind behind(lookup, ScaleTypeFor(table.type), table.type);
    const Blocks blocks = BlocksOf(table.spec, table.k);
    if (!padded || table.k % blocks.size == 0) {
      return behind.With(
          {GatherBlocksNode(lookup.node_name, weight, lookup.indices, 1, behind.name())});
    }
    const std::string whole = lookup.output + "_padded";
    return behind.With({GatherBlocksNode(lookup.node_name, weight, lookup.indices, 1, whole),
                        MakeNode("Slice", lookup.node_name + "/slice",
                                 {whole, AddIntegers(sink, table.name + ".slice_start", {0}),
                                  AddIntegers(sink, table.name + ".slice_end", {table.k}),
                                  AddIntegers(sink, table.name + ".slice_axis", {-1})},
                                 behind.name())});
  }

  static std::string AddIntegers(TensorSink& sink, const std::string& name,
                                 const std::vector<int64_t>& values) {
    return sink.Add(name, DType::kInt64, {int64_t(values.size())},
                    std::as_bytes(std::span(values)));
  }
};

/// One scale a row; signed codes count from their middle.
class GatherRows : public TableForm {
 public:
  [[nodiscard]] std::string_view name() const override { return "gatherrows"; }

  void CheckSpec(const QuantSpec& spec) const override {
    if (spec.bits == 8 && spec.group_size == 0) return;
    throw UsageError("a Gather takes rows of 8-bit codes with one scale each");
  }

  [[nodiscard]] QuantSpec Preferred(const QuantSpec& spec) const override {
    QuantSpec preferred = spec;
    preferred.group_size = 0;
    return preferred;
  }

  [[nodiscard]] std::string Refusal(const TensorFacts& tensor,
                                    const FormParameters& parameters) const override {
    if (AsStored(parameters.spec).bits != 8) {
      return "a Gather takes whole bytes (--format matmulnbits has smaller codes)";
    }
    if (tensor.opset >= kBroadcastOpset) return "";
    return "the model's opset " + std::to_string(tensor.opset) + " is too old (" +
           std::to_string(kBroadcastOpset) + " broadcasts)";
  }

  [[nodiscard]] int64_t Bytes(const TensorFacts& tensor,
                              const FormParameters& parameters) const override {
    const int64_t grid =
        BytesOf(ScaleTypeFor(tensor.compute), 1) + (parameters.spec.symmetric ? 0 : 1);
    return tensor.n * (tensor.k + grid);
  }

  void PrepareModel(onnx::ModelProto& /*model*/) const override {}

  [[nodiscard]] TableNodes Emit(const TableToEmit& table, TensorSink& sink) const override {
    CheckSpec(table.spec);
    if (!table.linears.empty()) throw InternalError("no linear can read rows of a Gather");
    const bool symmetric = table.spec.symmetric;
    Grid grid;
    const std::string codes = StreamCodes(
        table, symmetric ? DType::kInt8 : DType::kUint8, {table.n, table.k}, sink,
        [&](const QuantizedMatrix& q) { return PackIntegers(q.codes, q.spec); },
        [&](const QuantizedMatrix& q) {
          grid.scales.insert(grid.scales.end(), q.scales.begin(), q.scales.end());
          if (symmetric) return;
          const auto zeros = std::as_bytes(std::span(q.zero_points));
          grid.zero_points.insert(grid.zero_points.end(), zeros.begin(), zeros.end());
        });
    const std::string scales =
        AddFloats(sink, table.name + ".weight_scales", ScaleTypeFor(table.type), {table.n, 1},
                  [&] { return std::move(grid.scales); });
    const std::string zeros =
        symmetric ? ""
                  : sink.AddPacked(table.name + ".weight_zero_points", DType::kUint8, {table.n, 1},
                                   [&] { return std::move(grid.zero_points); });
    TableNodes nodes;
    for (const LookupToEmit& lookup : table.lookups) {
      nodes.lookups.push_back(Lookup(lookup, table.type, {codes, scales, zeros}));
    }
    return nodes;
  }

 private:
  struct Names {
    std::string codes;
    std::string scales;
    std::string zeros;
  };

  static std::vector<onnx::NodeProto> Lookup(const LookupToEmit& lookup, DType type,
                                             const Names& table) {
    const DType inner = ScaleTypeFor(type);
    const Behind behind(lookup, inner, type);
    const auto at = [&](const char* what) { return lookup.output + what; };
    std::vector<onnx::NodeProto> nodes;
    const auto add = [&](const char* type_name, const char* part,
                         const std::vector<std::string>& inputs, const std::string& output) {
      nodes.push_back(MakeNode(type_name, lookup.node_name + part, inputs, output));
    };
    add("Gather", "", {table.codes, lookup.indices}, at("_codes"));
    add("Gather", "/scales", {table.scales, lookup.indices}, at("_scales"));
    nodes.push_back(MakeCast(lookup.node_name + "/codes", at("_codes"), at("_codes_float"), inner));
    std::string codes = at("_codes_float");
    if (!table.zeros.empty()) {
      add("Gather", "/zero_points", {table.zeros, lookup.indices}, at("_zero_points"));
      nodes.push_back(MakeCast(lookup.node_name + "/zero_points_cast", at("_zero_points"),
                               at("_zero_points_float"), inner));
      add("Sub", "/centre", {codes, at("_zero_points_float")}, at("_centred"));
      codes = at("_centred");
    }
    add("Mul", "/dequantize", {codes, at("_scales")}, behind.name());
    return behind.With(std::move(nodes));
  }
};

}  // namespace

const TableForm& GatherBlocksForm() {
  static const GatherBlocks form;
  return form;
}

const TableForm& GatherRowsForm() {
  static const GatherRows form;
  return form;
}

}  // namespace ptq
