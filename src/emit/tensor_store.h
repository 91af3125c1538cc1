// Where finished tensors go: small ones into the model file, the others into the data file.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include <onnx/onnx_pb.h>

#include "ptq/base/file.h"
#include "ptq/emit/linear_format.h"
#include "ptq/emit/output_model.h"

namespace ptq {

/// Tensors of at least this many bytes are external.
inline constexpr int64_t kSmallestExternal = 1024;

/// What a store has taken since the last time it was asked.
struct StoreRecord {
  int64_t position = 0;  ///< bytes of the data file
  std::vector<onnx::TensorProto> initializers;
  std::vector<std::pair<std::string, std::string>> contents;  ///< content, name
  std::vector<std::string> names;                             ///< reserved ones
};

/// Writes tensor bytes in the order of the calls; the file is created with the first large tensor.
class TensorStore : public TensorSink {
 public:
  /// `path`: the data file, beside which the model file will be.
  explicit TensorStore(std::filesystem::path path) : path_(std::move(path)) {}

  /// `wanted`, or with a number behind it when the graph knows that name already; reserved from
  /// now.
  [[nodiscard]] std::string UniqueName(const std::string& wanted);
  void Reserve(const std::string& name) { names_.insert(name); }

  /// A new initializer. Equal bytes are stored once: a weight that several nodes share stays
  /// shared.
  std::string Add(const std::string& name, DType dtype, const Shape& shape,
                  std::span<const std::byte> bytes) override;

  /// Sink of a tensor's bytes, called any number of times.
  using Write = std::function<void(std::span<const std::byte>)>;
  /// Fills in the data of `tensor` (which has everything else) from what `produce` writes.
  void Store(onnx::TensorProto& tensor, int64_t size,
             const std::function<void(const Write&)>& produce);

  /// The initializers added so far, in order.
  [[nodiscard]] std::vector<onnx::TensorProto>& initializers() { return initializers_; }
  /// Bytes of tensor data written so far, inline ones included, padding not.
  [[nodiscard]] int64_t bytes_written() const { return bytes_written_; }
  void Close();

  /// Makes everything durable and returns what is new.
  [[nodiscard]] StoreRecord TakeRecord();
  /// Takes over the tensors of a record, whose bytes the data file holds already. Until Continue
  /// nothing can be written. The names that were reserved then are to be reserved with
  /// RestoreNames, when what asked for them has asked again.
  void RestoreTensors(const StoreRecord& record);
  void RestoreNames(const StoreRecord& record);
  /// Goes on behind what the restored records cover.
  void Continue();
  [[nodiscard]] int64_t position() const { return file_.has_value() ? file_->position() : 0; }

 private:
  /// Whether the tensor of that name has these bytes.
  [[nodiscard]] bool Holds(const std::string& name, std::span<const std::byte> bytes);
  std::filesystem::path path_;
  std::optional<FileWriter> file_;
  std::unordered_set<std::string> names_;
  std::map<std::string, std::string> by_content_;  ///< type, shape and hash; name
  std::vector<onnx::TensorProto> initializers_;
  int64_t bytes_written_ = 0;
  StoreRecord record_;
  std::optional<int64_t> restored_position_;
};

}  // namespace ptq
