// An ONNX model on disk: its ModelProto and the mapped bytes of its weights.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <onnx/onnx_pb.h>

#include "ptq/base/file.h"
#include "ptq/model/node.h"
#include "ptq/model/stored_grid.h"
#include "ptq/tensor/tensor.h"

namespace ptq {

struct QuantizedWeight;

/// Reads the elements of a TensorProto, inline or external. External files are mapped once each.
/// Several threads may read at once.
class WeightReader {
 public:
  /// `model`: the model's file, which names external data relative to its directory; empty for a
  /// model without a file.
  explicit WeightReader(const std::filesystem::path& model);

  /// The file of external data called `location`: beside the model, or beside the file that the
  /// model's is a link to. Its own links may lead to these directories and, of a model in a Hugging
  /// Face cache, to the blobs of its repository. Throws InputError, which begins with `what`, when
  /// they lead elsewhere, and when there is no such file.
  [[nodiscard]] std::filesystem::path DataFile(const std::string& location,
                                               std::string_view what) const;

  /// Views stay valid as long as `proto` (inline) or any Tensor of the mapping lives.
  /// Throws InputError when the data is missing, short, or outside the model's directory.
  [[nodiscard]] Tensor Read(const onnx::TensorProto& proto) const;
  /// The stored bytes of a tensor whose elements are raw or external, whatever their type; the
  /// owner keeps mapped bytes alive and is null for inline ones. Throws InputError like Read.
  struct StoredBytes {
    std::span<const std::byte> bytes;
    std::shared_ptr<const void> owner;
  };
  [[nodiscard]] StoredBytes ReadBytes(const onnx::TensorProto& proto) const;
  /// Bytes of the copy that Read makes of an external tensor whose elements lie misaligned, as
  /// those within an .onnx file mostly do; 0 where it gives a view.
  [[nodiscard]] int64_t CopiedBytes(const onnx::TensorProto& proto) const;
  /// Lets the resident pages of an external tensor go.
  void Drop(const onnx::TensorProto& proto) const;
  /// Has a tensor's bytes read from the disk before somebody needs them.
  void Prefetch(const onnx::TensorProto& proto) const;
  /// The grid of a tensor that is computed from codes; nothing for another.
  [[nodiscard]] std::optional<StoredGrid> GridOf(const onnx::TensorProto& proto) const;
  /// Bytes that hold the tensor's elements in the file: its codes and scales when it is computed
  /// from such.
  [[nodiscard]] int64_t SizeInFile(const onnx::TensorProto& proto) const;

 private:
  struct External {
    std::shared_ptr<const MappedFile> file;
    std::span<const std::byte> bytes;
  };
  friend class Model;
  [[nodiscard]] External Locate(const onnx::TensorProto& proto) const;
  [[nodiscard]] std::shared_ptr<const MappedFile> FileAt(const std::string& location,
                                                         const std::string& what) const;
  [[nodiscard]] const QuantizedWeight* QuantizedBehind(const onnx::TensorProto& proto) const;
  std::vector<std::filesystem::path> directories_;  ///< where data files are looked for
  std::vector<std::filesystem::path> allowed_;      ///< where links of theirs may lead
  std::string model_name_;
  mutable std::mutex files_mutex_;
  mutable std::map<std::string, std::shared_ptr<const MappedFile>> files_;
  std::vector<std::shared_ptr<const QuantizedWeight>> quantized_;  ///< weights that are computed
};

/// A node whose weight is stored as codes.
struct QuantizedNode {
  std::string op_type;
  std::string name;
  int bits = 0;
};

/// What of a model is quantized, in graph order, and how many products have float weights.
struct QuantizedWeights {
  std::vector<QuantizedNode> nodes;
  int64_t float_products = 0;
  int64_t caches = 0;  ///< that hold codes of past keys or values
};

/// Plain nodes that stand for one node of the file: a product with a weight that hid behind another
/// operator (a packed attention, a 1×1 convolution …), or in a form of its own.
struct SpelledOut {
  onnx::NodeProto original;
  std::vector<std::string> outputs;  ///< the first output of each plain node
};

/// A loaded model. Products with weights are spelled out on load. Model-local functions are inlined
/// on load. Large initializers of the main graph stay in the file and are external in the proto,
/// whatever form they have there.
class Model {
 public:
  /// `path`: the .onnx file, or a directory that holds one model, as ChooseModel tells. Throws
  /// InputError for anything that is not an ONNX model, and for one whose external data is missing
  /// or not its own (WeightReader::DataFile).
  /// `dequantize`: weights that FindQuantizedWeights finds become float initializers, which are
  /// computed from the codes whenever they are read, and their operators the float ones. Throws
  /// UnsupportedError naming a node for which that is impossible.
  /// `float_activations`: activations are not rounded, neither between QuantizeLinear and
  /// DequantizeLinear nor by MatMulNBits.
  [[nodiscard]] static Model Load(const std::filesystem::path& path, bool dequantize = false,
                                  bool float_activations = false);
  /// The same with every node, function and subgraph as the file has it; only the domains' names
  /// are unified. For what is copied, not analysed.
  [[nodiscard]] static Model LoadUnchanged(const std::filesystem::path& path);
  /// A model built in code; weights must be inline. For tests.
  [[nodiscard]] static Model FromProto(onnx::ModelProto proto, bool dequantize = false);

  [[nodiscard]] const onnx::ModelProto& proto() const { return *proto_; }
  [[nodiscard]] const onnx::GraphProto& graph() const { return proto_->graph(); }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::filesystem::path directory() const { return path_.parent_path(); }
  /// Files of the directory that are other forms of the model, when it was found in one.
  [[nodiscard]] const std::vector<std::filesystem::path>& other_forms() const {
    return other_forms_;
  }
  /// Version of an imported domain ("" for ai.onnx); 0 when it is not imported.
  [[nodiscard]] int64_t Opset(const std::string& domain) const;
  [[nodiscard]] const WeightReader& weights() const { return *weights_; }
  [[nodiscard]] const std::vector<SpelledOut>& spelled_out() const { return spelled_out_; }
  /// What of it is quantized already: operators on stored codes (MatMulNBits …), and
  /// DequantizeLinear of weights. One of a bias or of an activation does not count.
  [[nodiscard]] QuantizedWeights FindQuantizedWeights() const;
  /// A copy of everything but the main graph's initializers, so that an edited model does not hold
  /// the weights a second time. Not to be called while another thread reads the proto.
  [[nodiscard]] onnx::ModelProto CopyStructure() const;
  /// External data files (relative names) that the model refers to.
  [[nodiscard]] std::vector<std::string> ExternalFiles() const;
  /// Where one of them is. Throws InputError.
  [[nodiscard]] std::filesystem::path DataFile(const std::string& name) const {
    return weights_->DataFile(name, "external data");
  }

 private:
  Model() = default;
  [[nodiscard]] static Model Read(const std::filesystem::path& path);
  void Normalize(bool dequantize, bool float_activations = false);
  void CheckDataFiles() const;
  std::filesystem::path path_;
  std::vector<std::filesystem::path> other_forms_;
  std::unique_ptr<onnx::ModelProto> proto_;
  std::unique_ptr<WeightReader> weights_;
  std::vector<SpelledOut> spelled_out_;
};

}  // namespace ptq
