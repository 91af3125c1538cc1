// The only file that knows of MPI.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <limits>
#include <utility>

#include <mpi.h>
#include <sched.h>

#include "ptq/base/ranks.h"

namespace ptq {
namespace {

/// Elements of one reduction: bounds what MPI allocates beside them, and its counts are ints.
constexpr size_t kReduced = size_t{1} << 22;
constexpr size_t kCopied = size_t{1} << 28;
/// What a rank says that has not failed; one that has says rank · kCodes + status.
constexpr int kFine = std::numeric_limits<int>::max();
constexpr int kCodes = 256;

/// Launchers tell a process by these that it has companions. Without them MPI is left alone: it
/// costs time, and may write files.
bool HasCompanions() {
  return std::ranges::any_of(std::array{"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"},
                             [](const char* name) { return std::getenv(name) != nullptr; });
}

/// The processors that this machine's ranks may use together, divided among them; a rank that is
/// bound to fewer takes those.
int ThreadsPerRank(MPI_Comm machine) {
  int ranks = 1;
  MPI_Comm_size(machine, &ranks);
  cpu_set_t own;
  CPU_ZERO(&own);
  if (::sched_getaffinity(0, sizeof(own), &own) != 0) return 1;
  cpu_set_t all = own;
  MPI_Allreduce(&own, &all, int(sizeof(all)), MPI_BYTE, MPI_BOR, machine);
  return std::min(CPU_COUNT(&own), std::max(1, CPU_COUNT(&all) / ranks));
}

}  // namespace

struct Ranks::State {
  State() {
    int level = 0;  // the least there is will do
    MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &level);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Comm machine = MPI_COMM_NULL;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &machine);
    threads = ThreadsPerRank(machine);
    MPI_Comm_free(&machine);
  }
  ~State() { MPI_Finalize(); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  /// The least of what all ranks say.
  static int Exchange(int said) {
    int least = said;
    MPI_Allreduce(&said, &least, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    return least;
  }

  template <class T>
  void Reduce(std::span<T> values, MPI_Datatype type, MPI_Op operation, int root) const {
    for (size_t begin = 0; begin < values.size(); begin += kReduced) {
      const auto part = values.subspan(begin, std::min(kReduced, values.size() - begin));
      const void* const from = rank == root ? MPI_IN_PLACE : part.data();
      MPI_Reduce(from, part.data(), int(part.size()), type, operation, root, MPI_COMM_WORLD);
    }
  }

  void Copy(std::span<std::byte> bytes, int from, int to) const {
    for (size_t begin = 0; begin < bytes.size(); begin += kCopied) {
      const auto part = bytes.subspan(begin, std::min(kCopied, bytes.size() - begin));
      const auto count = int(part.size());
      if (to == kEveryone) {
        MPI_Bcast(part.data(), count, MPI_BYTE, from, MPI_COMM_WORLD);
      } else if (rank == from) {
        MPI_Send(part.data(), count, MPI_BYTE, to, 0, MPI_COMM_WORLD);
      } else if (rank == to) {
        MPI_Recv(part.data(), count, MPI_BYTE, from, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      }
    }
  }

  int rank = 0;
  int size = 1;
  int threads = 0;
};

Ranks::Ranks() : Ranks(HasCompanions() ? std::make_unique<State>() : nullptr) {}

Ranks::Ranks(std::unique_ptr<State> state) : state_(std::move(state)) {
  if (state_ == nullptr) return;
  rank_ = state_->rank;
  size_ = state_->size;
  threads_ = state_->threads;
}

Ranks Ranks::Alone() { return Ranks(nullptr); }
Ranks::~Ranks() = default;

void Ranks::Agree() {
  if (size_ == 1) return;
  const int least = State::Exchange(kFine);
  if (least != kFine) throw OtherRankFailed(ExitCode(least % kCodes));
}

bool Ranks::Fail(ExitCode& code) {
  if (size_ == 1) return true;
  const int least = State::Exchange(rank_ * kCodes + static_cast<int>(code));
  code = ExitCode(least % kCodes);
  return least / kCodes == rank_;
}

void Ranks::Sum(std::span<float> values, int root) {
  Agree();
  if (size_ > 1) state_->Reduce(values, MPI_FLOAT, MPI_SUM, root);
}

void Ranks::Sum(std::span<double> values, int root) {
  Agree();
  if (size_ > 1) state_->Reduce(values, MPI_DOUBLE, MPI_SUM, root);
}

void Ranks::Sum(std::span<int64_t> values, int root) {
  Agree();
  if (size_ > 1) state_->Reduce(values, MPI_INT64_T, MPI_SUM, root);
}

void Ranks::Max(std::span<float> values, int root) {
  Agree();
  if (size_ > 1) state_->Reduce(values, MPI_FLOAT, MPI_MAX, root);
}

void Ranks::Max(std::span<int64_t> values, int root) {
  Agree();
  if (size_ > 1) state_->Reduce(values, MPI_INT64_T, MPI_MAX, root);
}

void Ranks::Copy(std::span<std::byte> bytes, int from, int to) {
  if (from == to) return;
  Agree();
  if (size_ > 1) state_->Copy(bytes, from, to);
}

void Ranks::Copy(std::string& bytes, int from, int to) {
  auto length = static_cast<int64_t>(bytes.size());
  Copy(std::as_writable_bytes(std::span(&length, 1)), from, to);
  if (rank_ == to || to == kEveryone) bytes.resize(size_t(length));
  // A rank that has no memory for it says so at the next exchange, which is this one.
  Copy(std::as_writable_bytes(std::span(bytes)), from, to);
}

std::string Ranks::Library() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text{};
  int length = 0;
  MPI_Get_library_version(text.data(), &length);
  const std::string whole(text.data(), size_t(length));
  return whole.substr(0, whole.find_first_of(",\n"));
}

}  // namespace ptq
