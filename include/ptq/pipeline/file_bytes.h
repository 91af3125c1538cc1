// Where the bytes of a model's files are, before and after, and what would make them fewer.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ptq {

struct BytesPart {
  int64_t before = 0;
  int64_t after = 0;
};

/// The parts add up to the size of the model's files: the .onnx file and its data.
struct FileBytes {
  BytesPart linears;  ///< weights of linears, but for the head: codes, scales, zero points
  BytesPart head;     ///< the LM head, where it has a weight of its own
  BytesPart tables;   ///< of embeddings: what a Gather takes rows of; a tied head, too
  BytesPart rest;     ///< norms, biases, other constants, and the graph itself
  [[nodiscard]] BytesPart Total() const;
  FileBytes& operator+=(const FileBytes& other);
};

/// An option that would make the result smaller.
struct Saving {
  std::string what;    ///< "embeddings"
  int64_t part = 0;    ///< bytes of that in the result
  std::string option;  ///< "--float fp16"
  int64_t bytes = 0;   ///< fewer with it
};

}  // namespace ptq
