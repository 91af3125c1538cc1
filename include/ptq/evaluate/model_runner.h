// A model that is loaded once and run on one text after the other.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ptq/evaluate/task.h"
#include "ptq/tensor/tensor.h"

namespace ptq {

/// Holds the weights as float32. Only the steps that the judged output needs are run.
class ModelRunner {
 public:
  /// `task`, `output` and `by_token` are ChooseOutput's. `step`: tokens of a text that are fed at a
  /// time, those before them through the caches that the model hands out; 0: all at once. Throws
  /// what Model::Load, ChooseOutput and Feeder throw, and with a step what Continuations throws.
  explicit ModelRunner(const std::filesystem::path& source, EvalTask task = EvalTask::kAuto,
                       const std::string& output = "", bool by_token = false, int64_t step = 0);
  ~ModelRunner();
  ModelRunner(const ModelRunner&) = delete;
  ModelRunner& operator=(const ModelRunner&) = delete;

  /// The judged output for one text of T tokens, float32: [T, V] or [T, H], a row for each token,
  /// or [H] where the model itself makes one vector of a text. Const and thread-safe.
  /// Throws UnsupportedError for an output of another shape.
  [[nodiscard]] Tensor Run(const std::vector<int64_t>& ids) const;

  [[nodiscard]] EvalTask task() const;              ///< as chosen: never kAuto
  [[nodiscard]] const std::string& output() const;  ///< name of the judged output
  /// Whether that has a row for each token, as far as the model declares it.
  [[nodiscard]] bool by_token() const;
  [[nodiscard]] const Graph& graph() const;

 private:
  struct State;
  [[nodiscard]] Tensor RunInSteps(const std::vector<int64_t>& ids) const;
  [[nodiscard]] Tensor Checked(const Tensor& given, int64_t length) const;
  std::unique_ptr<State> state_;
};

/// Texts that run at the same time; a fixed number, so that memory does not grow with the threads.
inline constexpr int64_t kTextsAtOnce = 8;

}  // namespace ptq
