// What writes the forms of codes that tables may have.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include <onnx/onnx_pb.h>

#include "ptq/emit/linear_form.h"
#include "ptq/quant/form.h"
#include "ptq/quant/spec.h"
#include "ptq/tensor/dtype.h"
#include "ptq/transform/tensor_sink.h"

namespace ptq {

/// The codes of the rows [begin, end) of a table. Asked for once, in order: no table is held as a
/// whole.
using TableRows = std::function<QuantizedMatrix(int64_t begin, int64_t end)>;

/// A node that picks rows by index.
struct LookupToEmit {
  std::string indices;
  std::string output;  ///< [indices..., K]
  std::string node_name;
};

/// One quantized table W[N, K] to be written.
struct TableToEmit {
  std::string name;  ///< base of the new tensors' names
  int64_t n = 0;
  int64_t k = 0;
  DType type = DType::kFloat32;  ///< of the outputs: float32, float16, bfloat16
  QuantSpec spec;                ///< of the codes
  TableRows rows;
  std::vector<LookupToEmit> lookups;
  /// Linears that multiply with the same codes; their own `q` is null.
  std::vector<LinearToEmit> linears;
};

/// What replaces the node of each lookup and linear, in order.
struct TableNodes {
  std::vector<std::vector<onnx::NodeProto>> lookups;
  std::vector<std::vector<onnx::NodeProto>> linears;
};

/// A form of codes for tables, and what writes it.
class TableForm : public Form {
 public:
  [[nodiscard]] Storage storage() const override { return Storage::kCodes; }
  /// Raises what the model imports as far as the form needs.
  virtual void PrepareModel(onnx::ModelProto& model) const = 0;
  /// Hands the tensors over, the codes piece by piece. Scales must be finite in the table's type.
  [[nodiscard]] virtual TableNodes Emit(const TableToEmit& table, TensorSink& sink) const = 0;
};

/// The explicit list of forms that tables may have (forms.inc).
[[nodiscard]] std::span<const TableForm* const> TableForms();
/// What writes a form of codes. Throws InternalError for one that nobody writes.
[[nodiscard]] const TableForm& TableWriterOf(const Form& form);

}  // namespace ptq
