// A model that is loaded once and run on one text after the other.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ptq/calibrate/companions.h"
#include "ptq/evaluate/task.h"
#include "ptq/evaluate/tokenized_text.h"
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
  int64_t memory_budget = 0;  ///< bytes, for LoadedModel
};

/// What a model has read of a text that goes on.
struct TextState {
  TokenizedText text;  ///< what it has read; behind an encoder: the encoder's text, with the target
  Values caches = {};  ///< by input; empty where the model has none
};

/// Logits, each row with the token that it should prefer.
struct Predictions {
  Tensor logits;              ///< [R, V]
  int64_t first = 0;          ///< row of the first prediction
  std::vector<int64_t> next;  ///< [N], of rows first … first + N − 1

  [[nodiscard]] std::span<const float> rows() const {
    if (next.empty()) return {};
    const auto width = size_t(logits.dim(1));
    return logits.data<float>().subspan(size_t(first) * width, next.size() * width);
  }
};

/// Holds the weights as float32. Only the steps that the judged output needs are run. Const members
/// are thread-safe.
class ModelRunner {
 public:
  /// A model by itself; where its inputs cannot be made from token ids alone, with the models
  /// beside it that make them, or with the arrays of `samples` (a file; may be empty). Throws what
  /// Model::Load, ChooseOutput and Feeder throw, and with a step what Continuations throws.
  explicit ModelRunner(const std::filesystem::path& source, const RunnerOptions& options = {},
                       const std::filesystem::path& samples = {});
  /// One of several models, which outlive this and keep their weights.
  ModelRunner(Companions& models, size_t index, const RunnerOptions& options = {});
  ~ModelRunner();
  ModelRunner(const ModelRunner&) = delete;
  ModelRunner& operator=(const ModelRunner&) = delete;

  /// The judged output for one text of T tokens, float32: [T, V] or [T, H], a row for each token,
  /// or [H] where the model itself makes one vector of a text. Throws UnsupportedError for an
  /// output of another shape.
  [[nodiscard]] Tensor Run(const TokenizedText& text) const;

  /// A language model's logits in front of the text's tokens: of a decoder behind an encoder all of
  /// the target's, each read behind those before it; of one that goes on behind the past of
  /// another model the last token's; of others all but the first one's.
  [[nodiscard]] Predictions Predict(const TokenizedText& text) const;

  /// The judged output's row for the last token, [V], when the text of `state` goes on with `ids`
  /// (one or more; behind an encoder none to begin with), which are added to it. Through the caches
  /// when the runner has them, else by reading all of the text again. States of different texts may
  /// be used at the same time.
  [[nodiscard]] Tensor Next(const std::vector<int64_t>& ids, TextState& state) const;
  /// Whether Next goes through caches.
  [[nodiscard]] bool has_caches() const;
  /// Whether it reads what it writes behind an encoder.
  [[nodiscard]] bool is_behind_encoder() const;

  [[nodiscard]] EvalTask task() const;              ///< as chosen: never kAuto
  [[nodiscard]] const std::string& output() const;  ///< name of the judged output
  /// Whether that has a row for each token, as far as the model declares it.
  [[nodiscard]] bool by_token() const;
  /// How Predict reads a text, where it is not read at once with all of its tokens counting: for
  /// people; may be empty.
  [[nodiscard]] std::string reading() const;
  [[nodiscard]] const Graph& graph() const;
  /// Rows of the smallest table that token ids choose from, those of companions included; 0 where
  /// the graphs do not show it.
  [[nodiscard]] int64_t vocabulary() const;
  /// Samples of complete inputs that it is fed instead of texts; null when there are none.
  [[nodiscard]] const FeedSamples* feeds() const;

 private:
  struct State;
  void FindReading();
  [[nodiscard]] const std::vector<int64_t>& ReadIds(const TokenizedText& text) const;
  [[nodiscard]] Values InputsFor(const TokenizedText& text) const;
  /// The judged output as the model gives it.
  [[nodiscard]] Tensor RunOnce(const TokenizedText& text) const;
  [[nodiscard]] Tensor RunInSteps(const std::vector<int64_t>& ids) const;
  [[nodiscard]] Tensor RunLastTokens(const TokenizedText& text, int64_t first) const;
  /// The judged output for new tokens behind those of `state`, which takes over the caches.
  [[nodiscard]] Tensor Continue(const std::vector<int64_t>& ids, TextState& state) const;
  [[nodiscard]] Tensor Checked(const Tensor& given, int64_t length) const;
  [[nodiscard]] Tensor LastRow(const Tensor& given) const;
  std::unique_ptr<State> state_;
};

/// Texts that run at the same time; a fixed number, so that memory does not grow with the threads.
inline constexpr int64_t kTextsAtOnce = 8;

}  // namespace ptq
