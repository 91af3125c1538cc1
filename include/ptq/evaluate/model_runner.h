// A model that is loaded once and run on one text after the other.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ptq/evaluate/task.h"
#include "ptq/runtime/executor.h"
#include "ptq/tensor/tensor.h"

namespace ptq {

struct RunnerOptions {
  EvalTask task = EvalTask::kAuto;  ///< with the next two, what ChooseOutput takes
  std::string output = {};
  bool by_token = false;
  /// Tokens of a text that are fed at a time, those before them through the caches that the model
  /// hands out; 0: all at once.
  int64_t step = 0;
  /// For ModelRunner::Next: caches are handed on where the model has some.
  bool continues = false;
};

/// What a model has read of a text that goes on.
struct TextState {
  std::vector<int64_t> ids;
  Values caches;  ///< by input; empty where the model has none
};

/// Holds the weights as float32. Only the steps that the judged output needs are run.
class ModelRunner {
 public:
  /// Throws what Model::Load, ChooseOutput and Feeder throw, and with a step what Continuations
  /// throws.
  explicit ModelRunner(const std::filesystem::path& source, const RunnerOptions& options = {});
  ~ModelRunner();
  ModelRunner(const ModelRunner&) = delete;
  ModelRunner& operator=(const ModelRunner&) = delete;

  /// The judged output for one text of T tokens, float32: [T, V] or [T, H], a row for each token,
  /// or [H] where the model itself makes one vector of a text. Const and thread-safe.
  /// Throws UnsupportedError for an output of another shape.
  [[nodiscard]] Tensor Run(const std::vector<int64_t>& ids) const;

  /// The judged output's row for the last token, [V], when the text of `state` goes on with `ids`
  /// (one or more), which are added to it. Through the caches when the runner has them, else by
  /// reading all of the text again. Const and thread-safe, for states of different texts.
  [[nodiscard]] Tensor Next(const std::vector<int64_t>& ids, TextState& state) const;
  /// Whether Next goes through caches.
  [[nodiscard]] bool has_caches() const;

  [[nodiscard]] EvalTask task() const;              ///< as chosen: never kAuto
  [[nodiscard]] const std::string& output() const;  ///< name of the judged output
  /// Whether that has a row for each token, as far as the model declares it.
  [[nodiscard]] bool by_token() const;
  [[nodiscard]] const Graph& graph() const;

 private:
  struct State;
  [[nodiscard]] Tensor RunInSteps(const std::vector<int64_t>& ids) const;
  /// The judged output for new tokens behind those of `state`, which takes over the caches.
  [[nodiscard]] Tensor Continue(const std::vector<int64_t>& ids, TextState& state) const;
  [[nodiscard]] Tensor Checked(const Tensor& given, int64_t length) const;
  std::unique_ptr<State> state_;
};

/// Texts that run at the same time; a fixed number, so that memory does not grow with the threads.
inline constexpr int64_t kTextsAtOnce = 8;

}  // namespace ptq
