// Where finished tensors go: small ones into the model file, the others into data files.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <onnx/onnx_pb.h>

#include "ptq/base/file.h"
#include "ptq/model/unique_names.h"
#include "ptq/transform/tensor_sink.h"

namespace ptq {

/// Tensors of at least this many bytes are external.
inline constexpr int64_t kSmallestExternal = 1024;
/// Data files of a model: transformers.js reads no more.
inline constexpr size_t kMostDataFiles = 100;

/// The data files of a model in order: `first`, and with "_1", "_2" … behind its name.
[[nodiscard]] std::filesystem::path DataFile(const std::filesystem::path& first, size_t index);

/// What a store has taken since the last time it was asked.
struct StoreRecord {
  std::vector<int64_t> files;  ///< bytes of each data file, so far
  std::vector<onnx::TensorProto> initializers;
  std::vector<std::pair<std::string, std::string>> contents;  ///< content, name
  std::vector<std::string> names;                             ///< reserved ones
};

/// Writes tensor bytes in the order of the calls; a file is created with its first large tensor.
class TensorStore : public TensorSink {
 public:
  /// `path`: the first data file, beside which the model file will be. `most`: bytes that no data
  /// file exceeds but for a single tensor that is larger; 0: one file takes all. A tensor lies in
  /// one file as a whole. Throws UsageError where more than kMostDataFiles would be needed.
  explicit TensorStore(std::filesystem::path path, int64_t most = 0)
      : path_(std::move(path)), most_(most) {}

  /// From now nothing is packed, read or written: a draft finds out what the files will measure.
  /// Small tensors hold zeros; packed ones are equal when their names and shapes are, and floats
  /// never are.
  void OnlyMeasure() { measures_ = true; }
  [[nodiscard]] bool measures() const { return measures_; }

  /// `wanted`, or with a number behind it when the graph knows that name already; reserved from
  /// now.
  [[nodiscard]] std::string UniqueName(const std::string& wanted);
  void Reserve(const std::string& name) { names_.Reserve(name); }

  /// A new initializer. Equal bytes are stored once: a weight that several nodes share stays
  /// shared.
  std::string Add(const std::string& name, DType dtype, const Shape& shape,
                  std::span<const std::byte> bytes) override;

  std::string AddPacked(const std::string& name, DType dtype, const Shape& shape,
                        const Pack& pack) override;

  std::string Stream(const std::string& name, DType dtype, const Shape& shape,
                     const std::function<void(const Write&)>& produce) override;

  /// Equal bytes of external ones lie in the file once, under both names.
  std::string AddAlone(const std::string& name, DType dtype, const Shape& shape, const Pack& pack,
                       const std::string& alike) override;

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
  /// Bytes of each data file so far.
  [[nodiscard]] const std::vector<int64_t>& files() const { return files_; }

 private:
  std::string Keep(onnx::TensorProto tensor);
  /// A tensor of these bytes that was added for the same use; null: none.
  [[nodiscard]] const onnx::TensorProto* FindEqual(const std::string& content,
                                                   std::span<const std::byte> bytes);
  /// Lets later ones find the tensor.
  void Remember(const std::string& content, const std::string& name);
  /// Gives the tensor the place of `size` bytes, without any.
  void Measure(onnx::TensorProto& tensor, int64_t size);
  /// The place of the next `size` bytes: an offset in the last of the files.
  [[nodiscard]] int64_t Place(int64_t size);
  /// Finishes the file before the last, and creates the last.
  void NextFile();
  [[nodiscard]] std::filesystem::path LastFile() const {
    return DataFile(path_, files_.empty() ? 0 : files_.size() - 1);
  }

  std::filesystem::path path_;
  int64_t most_;
  std::vector<int64_t> files_;
  std::optional<FileWriter> file_;               ///< the last of the files
  std::vector<std::filesystem::path> finished_;  ///< those before it that may not be durable
  UniqueNames names_;
  std::map<std::string, std::string> by_content_;  ///< use, type, shape, hash; name
  std::vector<onnx::TensorProto> initializers_;
  std::unordered_map<std::string, size_t> by_name_;  ///< where those that were added are
  int64_t bytes_written_ = 0;
  bool measures_ = false;
  StoreRecord record_;
  bool restoring_ = false;  ///< a record is restored, and Continue not yet called
};

}  // namespace ptq
