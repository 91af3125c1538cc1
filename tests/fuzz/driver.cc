// Runs one target on changed seeds for a time, or on files that are given: no coverage is measured
// (coverage.cc does), but inputs that are refused in a new way are kept and changed further.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <limits>
#include <set>
#include <string>

#include "coverage.h"
#include "fuzz.h"
#include "outcome.h"
#include "support/temp_directory.h"
#include <google/protobuf/stubs/logging.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include "ptq/cli/describe_error.h"

namespace ptq::fuzz {

#define PTQ_FUZZ_TARGET(name) extern const Target name##_target;
#include "targets.inc"
#undef PTQ_FUZZ_TARGET

std::span<const Target> Targets() {
#define PTQ_FUZZ_TARGET(name) name##_target,
  static const std::vector<Target> kTargets = {
#include "targets.inc"
  };
#undef PTQ_FUZZ_TARGET
  return kTargets;
}

std::string InFile(const std::string& name, std::string_view input) {
  static const testing::TempDirectory directory;
  return directory.Write(name, input).string();
}

std::string Outcome(const Target& target, std::string_view input) {
  try {
    target.run(input);
    return "done";
  } catch (...) {
    const Ending ending = DescribeError(std::current_exception());
    if (ending.code == ExitCode::kInternal) throw;
    std::string text;
    bool quoted = false;
    for (const char c : ending.text) {
      if (c == '\'') quoted = !quoted;
      if (!quoted && (std::isalpha(static_cast<unsigned char>(c)) != 0 || c == ' ')) text += c;
    }
    return text;
  }
}

namespace {

constexpr unsigned kSecondsForOne = 30;

struct Options {
  const Target* target = nullptr;
  double seconds = 30;
  int64_t runs = std::numeric_limits<int64_t>::max();  ///< at most
  uint64_t seed = 1;
  std::string keep = "fuzz-finding";
  std::string corpus;  ///< of a search by coverage; what follows are libFuzzer's arguments
  std::vector<std::string> files;
};

Options Parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--seconds" && i + 1 < argc) {
      options.seconds = std::stod(argv[++i]);
    } else if (word == "--runs" && i + 1 < argc) {
      options.runs = std::stoll(argv[++i]);
    } else if (word == "--seed" && i + 1 < argc) {
      options.seed = std::stoull(argv[++i]);
    } else if (word == "--keep" && i + 1 < argc) {
      options.keep = argv[++i];
    } else if (word == "--corpus" && i + 1 < argc) {
      options.corpus = argv[++i];
    } else if (word.starts_with(kAgain)) {
      const size_t colon = word.find(':');
      const std::string name = word.substr(kAgain.size(), colon - kAgain.size());
      const auto found = std::ranges::find(Targets(), name, &Target::name);
      if (found != Targets().end()) options.target = &*found;
      options.corpus = word.substr(colon + 1);
    } else if (options.target == nullptr) {
      const auto found = std::ranges::find(Targets(), word, &Target::name);
      if (found != Targets().end()) options.target = &*found;
    } else {
      options.files.push_back(word);
    }
  }
  return options;
}

/// Left where a crash finds it.
void Keep(const std::string& file, const std::string& input) {
  std::ofstream(file, std::ios::binary) << input;
}

int Search(const Options& options) {
  const Target& target = *options.target;
  Random random(options.seed);
  std::vector<std::string> corpus = target.seeds();
  std::set<std::string> outcomes;
  const auto now = [] { return std::chrono::steady_clock::now(); };
  const auto end = now() + std::chrono::duration<double>(options.seconds);
  int64_t runs = 0;
  for (const std::string& seed : corpus) outcomes.insert(Outcome(target, seed));
  for (; now() < end && runs < options.runs; ++runs) {
    std::string input = corpus[Below(random, corpus.size())];
    for (size_t i = 1 + Below(random, 6); i > 0; --i) target.mutate(input, corpus, random);
    Keep(options.keep, input);
    ::alarm(kSecondsForOne);
    if (outcomes.insert(Outcome(target, input)).second && input.size() < (1 << 16)) {
      corpus.push_back(std::move(input));
    }
    ::alarm(0);
  }
  std::filesystem::remove(options.keep);
  std::printf("%s: %lld runs, seed %llu, %zu outcomes, %zu inputs kept: clean\n",
              std::string(target.name).c_str(), static_cast<long long>(runs),
              static_cast<unsigned long long>(options.seed), outcomes.size(), corpus.size());
  return 0;
}

void EndSlow(int) {
  static constexpr char kText[] = "an input takes more than 30 s\n";
  const ssize_t ignored = ::write(STDERR_FILENO, kText, sizeof(kText) - 1);
  (void)ignored;
  std::abort();
}

}  // namespace
}  // namespace ptq::fuzz

int main(int argc, char** argv) {
  using namespace ptq::fuzz;
  spdlog::set_level(spdlog::level::off);
  google::protobuf::SetLogHandler(nullptr);
  const Options options = Parse(argc, argv);
  if (options.corpus.empty()) std::signal(SIGALRM, EndSlow);  // libFuzzer has a clock of its own
  if (options.target == nullptr) {
    std::cerr << "fuzz TARGET [--seconds N] [--runs N] [--seed N] [--keep FILE] [FILE...]\n"
                 "fuzz TARGET --corpus DIR [libFuzzer's arguments]; targets:";
    for (const Target& target : Targets()) std::cerr << ' ' << target.name;
    std::cerr << '\n';
    return 2;
  }
  if (!options.corpus.empty()) {
#ifdef PTQ_LIBFUZZER
    return SearchByCoverage(*options.target, options.corpus, options.files);
#else
    std::cerr << "built without libFuzzer (-DPTQ_LIBFUZZER=ON)\n";
    return 2;
#endif
  }
  if (options.files.empty()) return Search(options);
  for (const std::string& file : options.files) {
    std::ifstream stream(file, std::ios::binary);
    const std::string input{std::istreambuf_iterator<char>(stream), {}};
    std::cout << file << ": " << Outcome(*options.target, input) << '\n';
  }
  return 0;
}
