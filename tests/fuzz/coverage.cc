// The same targets led by coverage: hands inputs that libFuzzer makes, and those that the target's
// own changes make of them, to one target.
#include "coverage.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "outcome.h"

// Of libclang_rt.fuzzer_no_main (LLVM 12 and later); it has no header.
extern "C" int LLVMFuzzerRunDriver(int* argc, char*** argv,
                                   int (*callback)(const uint8_t* data, size_t size));
extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most);

namespace ptq::fuzz {
namespace {

// libFuzzer's callbacks are given nothing of ours.
const Target* g_target = nullptr;

int RunOne(const uint8_t* data, size_t size) {
  try {
    (void)Outcome(*g_target, {reinterpret_cast<const char*>(data), size});
  } catch (...) {
    std::abort();  // a finding, of which libFuzzer keeps the input
  }
  return 0;
}

}  // namespace

int SearchByCoverage(const Target& target, const std::string& corpus,
                     std::vector<std::string> arguments) {
  g_target = &target;
  std::filesystem::create_directories(corpus);
  size_t number = 0;
  for (const std::string& seed : target.seeds()) {
    std::ofstream(corpus + "/seed-" + std::to_string(number++), std::ios::binary) << seed;
  }
  // To merge, libFuzzer starts its command line once more; words that begin with -- are not its
  // own.
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
  const std::string again = std::string(kAgain) + std::string(target.name) + ":" + corpus;
  arguments.insert(arguments.begin(), {program, again, corpus});
  std::vector<char*> words;
  for (std::string& argument : arguments) words.push_back(argument.data());
  words.push_back(nullptr);
  int argc = static_cast<int>(arguments.size());
  char** argv = words.data();
  return LLVMFuzzerRunDriver(&argc, &argv, RunOne);
}

}  // namespace ptq::fuzz

/// Every other time the bytes are changed blindly, so that coverage alone leads.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most,
                                          unsigned int seed) {
  if (seed % 2 == 0) return LLVMFuzzerMutate(data, size, most);
  std::string input(reinterpret_cast<const char*>(data), size);
  static const std::vector<std::string> kSeeds = ptq::fuzz::g_target->seeds();
  ptq::fuzz::Random random(seed);
  ptq::fuzz::g_target->mutate(input, kSeeds, random);
  input.resize(std::min(input.size(), most));
  std::copy(input.begin(), input.end(), data);
  return input.size();
}
