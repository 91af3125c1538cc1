// What a fuzz target is: seeds made in code, ways to change them, and what is done with the result.
#pragma once

#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ptq::fuzz {

using Random = std::mt19937_64;

struct Target {
  std::string_view name;
  std::vector<std::string> (*seeds)();
  /// Changes an input in one way; `others` are inputs of which parts may be taken.
  void (*mutate)(std::string& input, std::span<const std::string> others, Random& random);
  /// Uses the input as the program does. Errors of inputs are what it may throw.
  void (*run)(std::string_view input);
};

/// All of them (targets.inc).
[[nodiscard]] std::span<const Target> Targets();

/// In [0, end).
[[nodiscard]] size_t Below(Random& random, size_t end);
/// A number at which arithmetic breaks, or a small one.
[[nodiscard]] int64_t OddInteger(Random& random);

/// Bytes changed, put in, taken out, doubled, or taken from another input.
void MutateBytes(std::string& input, std::span<const std::string> others, Random& random);
/// MutateBytes, but mostly words, brackets, quotes and numbers of the format.
void MutateText(std::string& input, std::span<const std::string> others, Random& random);
/// A field of a ModelProto, at any depth: set, doubled, removed, or moved to where another was.
void MutateModel(std::string& input, std::span<const std::string> others, Random& random);

/// Writes the input to a file of that name in the process's own directory.
[[nodiscard]] std::string InFile(const std::string& name, std::string_view input);

}  // namespace ptq::fuzz
