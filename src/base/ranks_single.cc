// The build without MPI (PTQ_MPI=OFF): one rank, whose exchanges do nothing.
#include <cstdlib>

#include "ptq/base/ranks.h"

namespace ptq {

struct Ranks::State {};

/// Processes that do not know of each other would all do the same work and write the same files.
Ranks::Ranks() {
  const char* const size = std::getenv("OMPI_COMM_WORLD_SIZE");
  if (size == nullptr || std::atoi(size) <= 1) return;
  throw UsageError("started as one of " + std::string(size) +
                   " ranks, but this build has no MPI; start it alone, or build with "
                   "-DPTQ_MPI=ON");
}

Ranks::Ranks(std::unique_ptr<State> state) : state_(std::move(state)) {}
Ranks Ranks::Alone() { return Ranks(nullptr); }
Ranks::~Ranks() = default;

void Ranks::Sum(std::span<float> /*values*/, int /*root*/) {}
void Ranks::Sum(std::span<double> /*values*/, int /*root*/) {}
void Ranks::Sum(std::span<int64_t> /*values*/, int /*root*/) {}
void Ranks::Max(std::span<float> /*values*/, int /*root*/) {}
void Ranks::Max(std::span<int64_t> /*values*/, int /*root*/) {}
void Ranks::Copy(std::span<std::byte> /*bytes*/, int /*from*/, int /*to*/) {}
void Ranks::Copy(std::string& /*bytes*/, int /*from*/, int /*to*/) {}
void Ranks::Agree() {}
bool Ranks::Fail(ExitCode& /*code*/) { return true; }
std::string Ranks::Library() { return ""; }

}  // namespace ptq
