// Arrays of NumPy, alone and in an archive.
#include <fstream>
#include <iterator>

#include "fuzz.h"

#include "ptq/tensor/npz.h"

namespace ptq::fuzz {
namespace {

std::string Contents(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

std::vector<std::string> Seeds() {
  const std::string path = InFile("seed.npz", "");
  WriteNpz(path, {{"input_ids", Tensor::From<int64_t>({2, 3}, {1, 2, 3, 4, 5, 6})},
                  {"x", Tensor::From<float>({2}, {0.5f, -1})}});
  std::string npy = "\x93NUMPY";
  npy += std::string("\x01\x00\x46\x00", 4) +
         "{'descr': '<i8', 'fortran_order': False, 'shape': (2, 2), }";
  npy.resize(80, ' ');
  return {Contents(path), npy + std::string(32, '\1')};
}

void Run(std::string_view input) {
  const bool archive = input.starts_with("PK");
  const std::string path = InFile(archive ? "a.npz" : "a.npy", input);
  if (archive) {
    (void)ReadNpz(path);
  } else {
    (void)ReadNpy(path);
  }
}

}  // namespace

extern const Target arrays_target = {"arrays", Seeds, MutateBytes, Run};

}  // namespace ptq::fuzz
