// What writes the forms of codes that filters of convolutions may have.
#pragma once

#include <span>
#include <string>
#include <vector>

#include <onnx/onnx_pb.h>

#include "ptq/plan/plan.h"
#include "ptq/quant/form.h"
#include "ptq/quant/spec.h"
#include "ptq/tensor/tensor.h"
#include "ptq/transform/tensor_sink.h"

namespace ptq {

/// Quantized filters to be written.
struct FiltersToEmit {
  const Constant& filters;      ///< operand_type: of what the convolutions read
  Shape shape;                  ///< as the source stores them
  const QuantizedMatrix& q;     ///< a row for each output channel
  std::vector<std::string> to;  ///< names for the floats, one for each convolution
};

/// A form of codes for filters, and what writes it.
class FilterForm : public Form {
 public:
  [[nodiscard]] Storage storage() const override { return Storage::kCodes; }
  /// The nodes that make the floats of each convolution, in order. Scales must be finite in the
  /// convolutions' type.
  [[nodiscard]] virtual std::vector<std::vector<onnx::NodeProto>> Emit(const FiltersToEmit& filters,
                                                                       TensorSink& sink) const = 0;
};

/// The explicit list of forms that filters may have (forms.inc).
[[nodiscard]] std::span<const FilterForm* const> FilterForms();
/// What writes a form of codes. Throws InternalError for one that nobody writes.
[[nodiscard]] const FilterForm& FilterWriterOf(const Form& form);

}  // namespace ptq
