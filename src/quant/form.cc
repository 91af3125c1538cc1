// The forms that need no codes, and the one that no file has.
#include "ptq/quant/form.h"

namespace ptq {
namespace {

class Keep : public Form {
 public:
  [[nodiscard]] std::string_view name() const override { return "keep"; }
  [[nodiscard]] Storage storage() const override { return Storage::kAsIs; }
  [[nodiscard]] std::string Refusal(const TensorFacts& /*tensor*/,
                                    const FormParameters& /*parameters*/) const override {
    return "";
  }
  [[nodiscard]] int64_t Bytes(const TensorFacts& tensor,
                              const FormParameters& /*parameters*/) const override {
    return BytesOf(tensor.stored, tensor.n * tensor.k);
  }
};

class Fp16 : public Form {
 public:
  [[nodiscard]] std::string_view name() const override { return "fp16"; }
  [[nodiscard]] Storage storage() const override { return Storage::kHalf; }
  [[nodiscard]] std::string Refusal(const TensorFacts& tensor,
                                    const FormParameters& /*parameters*/) const override {
    if (tensor.stored != DType::kFloat32) return "already in 16 bits";
    return tensor.fits_half ? "" : "it has values that FP16 cannot hold";
  }
  [[nodiscard]] int64_t Bytes(const TensorFacts& tensor,
                              const FormParameters& /*parameters*/) const override {
    return BytesOf(DType::kFloat16, tensor.n * tensor.k);
  }
};

class Unwritten : public Form {
 public:
  [[nodiscard]] std::string_view name() const override { return "codes"; }
  [[nodiscard]] Storage storage() const override { return Storage::kCodes; }
  [[nodiscard]] std::string Refusal(const TensorFacts& /*tensor*/,
                                    const FormParameters& /*parameters*/) const override {
    return "";
  }
  [[nodiscard]] int64_t Bytes(const TensorFacts& tensor,
                              const FormParameters& parameters) const override {
    const QuantSpec& spec = parameters.spec;
    const int64_t groups = tensor.n * spec.GroupsFor(tensor.k);
    return (tensor.n * tensor.k * spec.bits + 7) / 8 +
           groups * (spec.scale_type == ScaleType::kFloat32 ? 4 : 2) +
           (spec.symmetric ? 0 : (groups * spec.bits + 7) / 8);
  }
};

}  // namespace

std::string_view ActivationsName(Activations activations, int bits) {
  switch (activations) {
    case Activations::kFloat: return "float";
    case Activations::kDynamic: return "uint8 dynamic";
    case Activations::kStatic: return bits == 16 ? "uint16 static" : "uint8 static";
  }
  return "";
}

const Form& KeepForm() {
  static const Keep form;
  return form;
}

const Form& HalfForm() {
  static const Fp16 form;
  return form;
}

const Form& UnwrittenCodes() {
  static const Unwritten form;
  return form;
}

}  // namespace ptq
