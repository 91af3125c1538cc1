// How large the files of a model are.
#pragma once

#include <cstdint>
#include <numeric>
#include <vector>

namespace ptq {

/// Bytes of the files of a model.
struct FileSizes {
  int64_t model = 0;          ///< the .onnx file: the graph, its metadata and small tensors
  std::vector<int64_t> data;  ///< each data file: the other tensors, aligned
  [[nodiscard]] int64_t Data() const {
    return std::accumulate(data.begin(), data.end(), int64_t{0});
  }
  [[nodiscard]] int64_t Total() const { return model + Data(); }
};

}  // namespace ptq
