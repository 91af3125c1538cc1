// com.microsoft MoE: the tokens of one expert after the other, gathered, through two plain products
// and added up, so that each expert has activations of its own. ONNX Runtime's operator schema.

#include <algorithm>
#include <cmath>
#include <string>

#include "linear_forms.h"

namespace ptq {
namespace {

enum MoeInput : size_t { kRows, kLogits, kUp, kUpBias, kDown, kDownBias, kGate };
/// ScatterND adds from opset 16 on.
constexpr int64_t kAddingOpset = 16;

class MoeWriter {
 public:
  explicit MoeWriter(FormWriter& writer) : writer_(writer), node_(writer.node()) {}

  /// Whether the node is of the kind that has a quantized twin.
  bool IsKnown() {
    if (writer_.opset() < kAddingOpset || writer_.input(kGate) != kNoValue) return false;
    const auto up = Stack(kUp, 3), down = Stack(kDown, 3);
    if (!up || !down || (*up)[0] != (*down)[0]) return false;
    experts_ = (*up)[0];
    hidden_ = (*up)[1];
    width_ = (*up)[2];
    inner_ = (*down)[2];
    activation_ = node_.String("activation_type", "relu");
    const bool glu = activation_ == "swiglu";
    const bool plain = activation_ == "relu" || activation_ == "silu" || activation_ == "gelu";
    if (!plain && !(glu && node_.Int("swiglu_fusion", 0) == 1)) return false;
    if (node_.Int("use_sparse_mixer", 0) != 0 || node_.Int("swiglu_limit_after_activation", 0) != 0)
      return false;
    chosen_ = node_.Int("k", 1);
    return (*down)[1] == width_ && hidden_ == inner_ * (glu ? 2 : 1) && chosen_ >= 1 &&
           chosen_ <= experts_ && HasBias(kUpBias, hidden_) && HasBias(kDownBias, width_);
  }

  void Write() {
    const std::string x = writer_.InputName(kRows);
    const std::string rows = writer_.Reshape(x, {-1, width_});
    const std::string mixing = Mixing();
    std::string sum = Zeros(rows);
    for (int64_t expert = 0; expert < experts_; ++expert)
      sum = WithExpert(expert, rows, mixing, sum);
    const std::string shape = writer_.Add("Shape", {x});
    writer_.Add("Reshape", {sum, shape}, node_.output(0));
  }

 private:
  /// The shape of a float initializer of that rank.
  [[nodiscard]] std::optional<Shape> Stack(size_t i, size_t rank) {
    const auto view = writer_.View(i);
    if (!view || view->stored != writer_.input(i) || view->shape.size() != rank) {
      return std::nullopt;
    }
    type_ = view->dtype;
    return view->shape;
  }

  [[nodiscard]] bool HasBias(size_t i, int64_t size) {
    if (writer_.input(i) == kNoValue) return true;
    const auto shape = Stack(i, 2);
    return shape && *shape == Shape{experts_, size};
  }

  /// Of the shape of another value.
  std::string Zeros(const std::string& like) {
    const std::string shape = writer_.Add("Shape", {like});
    std::string zeros = writer_.Add("ConstantOfShape", {shape});
    onnx::TensorProto zero;
    const Tensor stored = Tensor::Filled<float>({1}, 0.0F).Cast(type_);
    zero.set_data_type(int32_t(type_));
    zero.add_dims(1);
    zero.set_raw_data(stored.bytes().data(), stored.bytes().size());
    SetTensor(writer_.last(), "value", std::move(zero));
    return zeros;
  }

  /// The weight of each expert for each token [T, E]; 0 for those that were not chosen.
  std::string Mixing() {
    const std::string logits = writer_.Reshape(writer_.InputName(kLogits), {-1, experts_});
    std::string weights = writer_.Add("TopK", {logits, writer_.Integers({1}, {chosen_})});
    const std::string chosen = writer_.Fresh();
    writer_.last().add_output(chosen);
    if (node_.Int("normalize_routing_weights", 0) != 0) {
      weights = Softmax(weights);
    } else {
      weights = writer_.Add("GatherElements", {Softmax(logits), chosen});
      SetInt(writer_.last(), "axis", 1);
    }
    const std::string zeros = Zeros(logits);
    std::string mixing = writer_.Add("ScatterElements", {zeros, chosen, weights});
    SetInt(writer_.last(), "axis", 1);
    return mixing;
  }

  std::string Softmax(const std::string& logits) {
    std::string weights = writer_.Add("Softmax", {logits});
    SetInt(writer_.last(), "axis", -1);
    return weights;
  }

  /// One expert's [A, B] of a stack, or [B] of its biases. A Slice, since what is stored as FP16
  /// is widened in front of it, for whoever reads the stack as a whole.
  std::string PartOf(size_t input, int64_t expert, const Shape& shape) {
    const std::string begin = writer_.Integers({1}, {expert});
    const std::string end = writer_.Integers({1}, {expert + 1});
    const std::string axis = writer_.Integers({1}, {0});
    return writer_.Reshape(writer_.Add("Slice", {writer_.InputName(input), begin, end, axis}),
                           shape);
  }

  std::string Product(const std::string& x, size_t input, int64_t expert, int64_t n, int64_t k) {
    const std::string w = writer_.Transpose(PartOf(input, expert, {n, k}), {1, 0});
    std::string y = writer_.Add("MatMul", {x, w});
    writer_.NameProduct(2 * expert + (input == kDown ? 1 : 0));
    if (writer_.input(input + 1) == kNoValue) return y;
    return writer_.Add("Add", {y, PartOf(input + 1, expert, {n})});
  }

  std::string Column(const std::string& pairs, int64_t which) {
    std::string column = writer_.Add("Gather", {pairs, writer_.Integers({}, {which})});
    SetInt(writer_.last(), "axis", 2);
    return column;
  }

  std::string Clipped(const std::string& x, bool below) {
    const float limit = node_.Float("swiglu_limit", INFINITY);
    if (!std::isfinite(limit)) return x;
    const std::string low = below ? writer_.Scalar(-limit, type_) : "";
    return writer_.Add("Clip", {x, low, writer_.Scalar(limit, type_)});
  }

  std::string Scaled(const std::string& x, const char* type, float by, float neutral) {
    return by == neutral ? x : writer_.Add(type, {x, writer_.Scalar(by, type_)});
  }

  /// x · sigmoid(alpha · x)
  std::string Swish(const std::string& x, float alpha) {
    const std::string gate = writer_.Add("Sigmoid", {Scaled(x, "Mul", alpha, 1.0F)});
    return writer_.Add("Mul", {x, gate});
  }

  /// As ONNX Runtime computes it here: ½x(1 + tanh(√(2/π)(x + 0.044715x³))) = x · sigmoid(2 …).
  std::string Gelu(const std::string& x) {
    const std::string cube = writer_.Add("Mul", {writer_.Add("Mul", {x, x}), x});
    const std::string inner = writer_.Add("Add", {x, Scaled(cube, "Mul", 0.044715F, 1.0F)});
    const std::string gate = writer_.Add("Sigmoid", {Scaled(inner, "Mul", 1.5957691216F, 1.0F)});
    return writer_.Add("Mul", {x, gate});
  }

  std::string Activated(const std::string& h) {
    if (activation_ == "relu") return writer_.Add("Relu", {h});
    if (activation_ == "silu") return Swish(h, 1.0F);
    if (activation_ == "gelu") return Gelu(h);
    const std::string pairs = writer_.Reshape(h, {0, inner_, 2});
    const std::string gate = Clipped(Column(pairs, 0), /*below=*/false);
    const std::string linear = Clipped(Column(pairs, 1), /*below=*/true);
    const std::string shifted = Scaled(linear, "Add", node_.Float("activation_beta", 0.0F), 0.0F);
    return writer_.Add("Mul", {Swish(gate, node_.Float("activation_alpha", 1.0F)), shifted});
  }

  /// `sum` with what one expert makes of its tokens.
  std::string WithExpert(int64_t expert, const std::string& rows, const std::string& mixing,
                         const std::string& sum) {
    std::string weights = writer_.Add("Gather", {mixing, writer_.Integers({}, {expert})});
    SetInt(writer_.last(), "axis", 1);
    const std::string tokens = writer_.Reshape(writer_.Add("NonZero", {weights}), {-1});
    const std::string x = writer_.Add("Gather", {rows, tokens});
    const std::string h = Activated(Product(x, kUp, expert, hidden_, width_));
    const std::string y = Product(h, kDown, expert, width_, inner_);
    const std::string column = writer_.Integers({2}, {-1, 1});
    weights = writer_.Add("Gather", {weights, tokens});
    const std::string weighted = writer_.Add("Mul", {y, writer_.Add("Reshape", {weights, column})});
    const std::string places = writer_.Add("Reshape", {tokens, column});
    std::string added = writer_.Add("ScatterND", {sum, places, weighted});
    SetString(writer_.last(), "reduction", "add");
    return added;
  }

  FormWriter& writer_;
  const Node& node_;
  DType type_ = DType::kFloat32;
  int64_t experts_ = 0, hidden_ = 0, width_ = 0, inner_ = 0, chosen_ = 0;
  std::string activation_;
};

}  // namespace

bool SpellOutMoe(FormWriter& writer) {
  MoeWriter moe(writer);
  if (!moe.IsKnown()) return false;
  moe.Write();
  return true;
}

}  // namespace ptq
