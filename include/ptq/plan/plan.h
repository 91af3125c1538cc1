// The full decision before any heavy work: every linear, what happens to it, and why.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ptq/model/graph.h"
#include "ptq/plan/rules.h"
#include "ptq/quant/form.h"
#include "ptq/runtime/execution_plan.h"

namespace ptq {

/// What a tensor becomes, and why.
struct Decision {
  const Form* form = &KeepForm();
  FormParameters parameters;
  std::optional<Method> method;  ///< of this tensor alone; else the run's
  std::string reason;  ///< why it is not quantized, or has another form than was asked for
  bool ruled = false;  ///< a rule names the form
  int64_t bytes = 0;   ///< that the file will hold for it
  bool asked = false;  ///< it is kept because the user wants it as it is
  bool known = false;  ///< it lies on a grid: its codes are taken from there, and not searched

  [[nodiscard]] bool quantizes() const { return form->storage() == Storage::kCodes; }
  [[nodiscard]] bool halves() const { return form->storage() == Storage::kHalf; }
  [[nodiscard]] bool keeps() const { return form->storage() == Storage::kAsIs; }
  [[nodiscard]] const QuantSpec& spec() const { return parameters.spec; }
  [[nodiscard]] Activations activations() const { return form->activations(parameters); }
};

/// A product of constants by the weight of a linear, such as DeBERTa's relative positions. It reads
/// the codes, too, so that the floats need not stay.
struct ConstantProduct {
  int node = 0;
  ValueId operand = kNoValue;  ///< the constant that stands for the weight there
  bool operand_is_nk = false;
  ValueId bias = kNoValue;
};

/// A tensor of weights, seen as W[N, K].
struct Subject {
  std::string name;           ///< as people know it: model.layers.0.self_attn.q_proj
  ValueId stored = kNoValue;  ///< the initializer or Constant that holds it
  int64_t n = 0;
  int64_t k = 0;
  DType stored_type = DType::kFloat32;
  Decision decision;

  [[nodiscard]] const QuantSpec& spec() const { return decision.spec(); }
};

/// What of an expert's two products a weight is.
enum class ExpertPart {
  kUp,     ///< the first product: of a gated expert that is a MoE's, gate and values in turn
  kGate,   ///< the gate's half of the first product
  kValue,  ///< what the gate multiplies
  kBoth,   ///< the rows of the gate above the others
  kDown,   ///< the second product
};

/// Which product of a mixture of experts a linear is.
struct ExpertPlace {
  int form = -1;       ///< index into Model::spelled_out() of the node that holds it; -1: none
  int mixture = -1;    ///< else, index into Plan::mixtures
  int64_t expert = 0;  ///< number of the expert; 0 when the weight is a stack of all
  ExpertPart part = ExpertPart::kUp;
};

/// How one weight product looks in the graph.
struct Linear : Subject {
  std::string node_name;       ///< of the file's node; may be empty
  int node = 0;                ///< index into Graph::nodes()
  ValueId site = kNoValue;     ///< the activation [..., K]
  ValueId operand = kNoValue;  ///< the constant that the node reads
  ValueId part = kNoValue;     ///< the value with this weight's elements alone: `stored`, or the
                               ///< part of it that the graph takes
  int gather = -1;             ///< node that picks matrices of a stack for each token, or -1
  int64_t experts = 1;         ///< matrices in that stack, one above the other in W
  ExpertPlace place;           ///< of a product that a node with experts hides
  ValueId bias = kNoValue;     ///< constant [N] inside the node (Gemm's C)
  Use bias_add{-1, -1};        ///< else, the constant [N] that an Add behind it adds; node -1: none
  bool operand_is_nk = false;  ///< the operand has the layout [N, K] (a stack: [experts,
                               ///< N / experts, K]); otherwise the last two swapped
  DType operand_type = DType::kFloat32;  ///< type of the activations, too
  bool is_head = false;                  ///< feeds the model's logits and nothing else
  bool reused = false;  ///< the stored weight has other users, too (tied, or used twice)
  std::vector<ConstantProduct> constant_products;  ///< some of these users
  int table = -1;  ///< index into Plan::tables of the table whose codes it reads; -1: its own

  /// Whether the file holds its codes among those of all experts of a node.
  [[nodiscard]] bool IsExpert() const { return place.form >= 0 || place.mixture >= 0; }
};

/// A mixture of experts that the graph spells out, one after the other or with matrices gathered
/// from stacks. For each row x of `rows` and the `chosen` largest of its `logits` it computes the
/// sum of w · (SiLU(x · gate) * (x · value)) · down, w from the softmax over all logits.
struct Mixture {
  std::string name;           ///< what the names of its linears begin with
  ValueId rows = kNoValue;    ///< [T, K]
  ValueId logits = kNoValue;  ///< [T, experts]
  ValueId output = kNoValue;  ///< [T, K]
  int64_t experts = 0;
  int64_t chosen = 0;
  bool normalizes = false;  ///< the weights of those that are chosen are divided by their sum
  bool gathered = false;    ///< from stacks
  std::vector<std::pair<int, ExpertPlace>> members;  ///< by index into Plan::linears
};

/// Rows that the graph picks by index, as those of an embedding.
struct Table : Subject {
  std::vector<int> lookups;    ///< the nodes that do
  ValueId operand = kNoValue;  ///< the constant that the first of them reads
  DType operand_type = DType::kFloat32;
  std::vector<int> linears;  ///< indices into Plan::linears of those that read its codes
};

/// Every other tensor of floats with more than one element: norms, biases, positions; and the
/// floats of a quantized weight that somebody still reads. Of N elements, K = 1; the filters of a
/// convolution: of N output channels with K weights each.
struct Constant : Subject {
  std::vector<int> convolutions;  ///< nodes that read these filters; empty: another constant
  std::string node_name;          ///< of the first of them in the file; may be empty
  /// Of a ConvTranspose, whose filters are [inputs, N / groups, taps...]; 0: of a Conv, [N, K...].
  int64_t groups = 0;
  DType operand_type = DType::kFloat32;  ///< in which the convolutions read them
  int64_t taps = 1;                      ///< elements of a filter that one input channel meets

  /// Where weight `k` of output channel `n` lies among the stored elements.
  [[nodiscard]] int64_t ElementOf(int64_t n, int64_t k) const;
  /// Calls visit(i, element) for each weight i of W, row by row, with its place among the stored
  /// elements.
  template <class Visit>
  void ForEachWeight(const Visit& visit) const {
    size_t i = 0;
    for (int64_t row = 0; row < n; ++row) {
      for (int64_t weight = 0; weight < k; ++weight) visit(i++, size_t(ElementOf(row, weight)));
    }
  }
};

/// Where 1/s of a scaled site goes.
struct Fold {
  enum class Kind {
    kMul,         ///< a Mul in front of the site's linears
    kGain,        ///< into constants [K] of the producer (norm gain and bias)
    kLinearRows,  ///< into the rows of the linear that produces the site
  };
  Kind kind = Kind::kMul;
  std::vector<Use> gains;  ///< kGain: which input of which node holds each constant
  int linear = -1;         ///< kLinearRows: index into Plan::linears
  Use bias{-1, -1};        ///< kLinearRows: an Add's constant to divide, too; node -1: none
  std::vector<int64_t> row_of_channel;  ///< kLinearRows: row of that linear for each channel k
};

/// An activation and the quantized linears that it feeds.
struct Site {
  ValueId value = kNoValue;
  std::vector<int> linears;  ///< indices into Plan::linears
  size_t segment = 0;        ///< where its linears run
  bool scaling_allowed = true;
  std::string scaling_note;  ///< why not
  Fold fold;
};

/// What a conversion of the whole graph to FP16 has to know.
struct HalfCompute {
  bool io = false;             ///< inputs and outputs of the graph become FP16, too
  std::vector<ValueId> large;  ///< values that were seen to be too large for FP16
};

/// Codes of cached keys and values: signed, with zero point 0.
struct CacheCodes {
  int bits = 8;             ///< 8, or 4: two in a byte
  bool per_channel = true;  ///< a scale for each channel of each head; else one for the tensor
};

/// A MatMul whose second operand is what a cache holds: of queries by keys [.., head_size, tokens],
/// or of probabilities by values [.., tokens, head_size].
struct CacheProduct {
  int node = 0;
  Shape by_head;  ///< scales of each channel of each head as the product's other side takes them:
                  ///< [.., heads, .., 1, head_size]; empty: it is not known where the heads are
  int64_t repeats = 1;  ///< of each head there, one after the other
};

/// Where a graph without an operator for it puts new rows behind those of a cache: in the main
/// graph, or in a branch, or only hands them out, in a branch that knows no past.
struct CacheRows {
  int node = 0;                 ///< the Concat, or what makes the rows
  bool concatenated = false;    ///< `node` is a Concat of past and rows
  ValueId rows = kNoValue;      ///< new rows [batch, heads, tokens, head_size]
  ValueId present = kNoValue;   ///< what is handed out; not concatenated: the rows
  std::vector<Use> readers;     ///< who reads the elements of `present`
  std::vector<int> twins = {};  ///< Transposes of what `node`, a Transpose, reads: read by products
  std::vector<CacheProduct> products = {};
};

/// Keys or values of past tokens [batch, heads, tokens, head_size], which the model hands out and
/// is given back with the next tokens.
struct Cache {
  std::string name;  ///< of the output
  int node = 0;      ///< that makes it: the attention, a Concat, or an If
  bool keys = false;
  ValueId past = kNoValue;
  ValueId present = kNoValue;
  int64_t heads = 0;
  int64_t head_size = 0;
  int64_t rotated = 0;       ///< leading channels that turn in pairs with the position; 0: none
  bool interleaved = false;  ///< a pair is 2i, 2i + 1; else i, i + rotated / 2
  /// Angles by which some positions turn each pair, as far as a table tells; else empty.
  std::vector<std::vector<float>> turns;
  std::vector<float> scales;    ///< one, or [heads · head_size]; empty before samples were seen
  std::vector<CacheRows> rows;  ///< where the graph concatenates; empty: `node` is an attention
};

/// What becomes of the caches of a model.
struct QuantizedCaches {
  CacheCodes codes;
  std::vector<Cache> caches;  ///< in the order of the graph's nodes, keys before values
  int64_t tokens = 0;   ///< of the samples that tell the scales; at most, before they are read
  int64_t longest = 0;  ///< of these samples, in tokens
};

struct Plan {
  std::vector<Linear> linears;            ///< in graph order
  std::vector<Site> sites;                ///< in graph order; only those with a quantized linear
  std::vector<Table> tables;              ///< in the order of the graph's values
  std::vector<Constant> constants;        ///< the same
  std::vector<Mixture> mixtures;          ///< places of linears tell which become a node
  std::optional<HalfCompute> half;        ///< the graph computes in FP16
  std::optional<QuantizedCaches> caches;  ///< past keys and values become codes
};

/// What people ask for a kind of tensor, such as the LM head.
enum class Precision { kHalf, kInt8, kInt4, kKeep };

/// A form of codes that is known by the name of its linears, and the tables' form beside it.
struct CodeForm {
  const Form* linears;
  const Form* tables;
};

struct PlanOptions {
  const Form* codes = &UnwrittenCodes();  ///< of linears
  FormParameters parameters;              ///< of these
  std::span<const CodeForm> forms;        ///< that rules and fallbacks may name
  Method method;                          ///< of the run
  std::vector<Rule> rules;                ///< of this model
  Precision head = Precision::kHalf;
  const Form* table_codes = &UnwrittenCodes();   ///< of tables
  Precision embeddings = Precision::kKeep;       ///< of large tables
  const Form* filter_codes = &UnwrittenCodes();  ///< of convolutions
  Precision convolutions = Precision::kKeep;     ///< of their filters; kInt4 is not for them
  bool half_floats = false;                      ///< whatever else is FP32 becomes FP16
  bool half_compute = false;  ///< the graph computes in FP16; what is not quantized is FP16, too
  bool half_io = false;       ///< so are its inputs and outputs
  std::optional<CacheCodes> caches;  ///< of past keys and values
  /// Globs, or regular expressions between slashes (/re/), over names of linears and of nodes.
  std::vector<std::string> include;
  std::vector<std::string> exclude;
  bool takes_grids = false;         ///< linears that lie on a grid get their codes from there
  bool patterns_must_match = true;  ///< a pattern that matches nothing is an error
};

/// Finds every linear and decides. Throws UsageError for a pattern of `exclude`, `include` or a
/// rule that matches nothing, UnsupportedError when the model holds no linear at all, or none that
/// may be quantized has a form that accepts it.
[[nodiscard]] Plan MakePlan(const ExecutionPlan& execution, const PlanOptions& options);

/// Whether a pattern matches the linear's name, or that of its node.
[[nodiscard]] bool Matches(const NamePattern& pattern, const Linear& linear);
/// The same of filters; no pattern matches another constant.
[[nodiscard]] bool Matches(const NamePattern& pattern, const Constant& filters);

/// "mul", "gain", "rows".
[[nodiscard]] std::string FoldName(Fold::Kind kind);

/// Codes as people name them: "int4 g128", "int8 channel asym".
[[nodiscard]] std::string CodesName(const QuantSpec& spec);

/// "quantize", "fp16", "keep".
[[nodiscard]] std::string DecisionName(const Decision& decision);

/// What a form is told of a tensor. `fits_half` is left true.
[[nodiscard]] TensorFacts FactsOf(const Graph& graph, const Linear& linear);
/// Sets the bytes that the file will hold for each subject, by its form and the types it has now.
void CountBytes(const Graph& graph, Plan& plan);

/// Caches as people name them: "int8 per channel".
[[nodiscard]] std::string CodesName(const CacheCodes& codes);

/// Whether a linear has the activations rounded that it reads.
[[nodiscard]] bool RoundsActivations(const Plan& plan);

/// What the written model holds as FP16 and the source as FP32, in the order of the graph's values.
[[nodiscard]] std::vector<ValueId> HalvedValues(const Plan& plan);

}  // namespace ptq
