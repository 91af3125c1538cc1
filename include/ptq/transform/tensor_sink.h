// What takes the tensors that an edit of the graph makes.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "ptq/tensor/dtype.h"
#include "ptq/tensor/tensor.h"

namespace ptq {

/// Takes finished tensors; returns the name under which the graph knows them. Equal ones may get
/// one.
class TensorSink {
 public:
  virtual ~TensorSink() = default;
  virtual std::string Add(const std::string& name, DType dtype, const Shape& shape,
                          std::span<const std::byte> bytes) = 0;
  /// The same for bytes that need not exist before they are asked for. A draft never asks.
  using Pack = std::function<std::vector<std::byte>()>;
  virtual std::string AddPacked(const std::string& name, DType dtype, const Shape& shape,
                                const Pack& pack) {
    return Add(name, dtype, shape, pack());
  }
  /// Takes the next bytes of a tensor.
  using Write = std::function<void(std::span<const std::byte>)>;
  /// The same for a tensor that nobody should hold as a whole: `produce` writes it in pieces, and
  /// it gets a name of its own.
  virtual std::string Stream(const std::string& name, DType dtype, const Shape& shape,
                             const std::function<void(const Write&)>& produce) {
    std::vector<std::byte> all;
    produce([&](std::span<const std::byte> bytes) {
      all.insert(all.end(), bytes.begin(), bytes.end());
    });
    return Add(name, dtype, shape, all);
  }
  /// The same for a tensor that nothing else may read: it gets a name of its own, though its bytes
  /// may be those of another in the file. A draft takes those of the same `alike` for equal.
  virtual std::string AddAlone(const std::string& name, DType dtype, const Shape& shape,
                               const Pack& pack, const std::string& /*alike*/) {
    return Stream(name, dtype, shape, [&](const Write& write) { write(pack()); });
  }
};

}  // namespace ptq
