// Loads the constants once, makes the inputs of each text, and checks the shape of the output.
#include "ptq/evaluate/model_runner.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "ptq/base/error.h"
#include "ptq/pipeline/directory.h"
#include "ptq/runtime/feeds.h"
#include "ptq/runtime/loaded_model.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;

/// None where the model cannot go on behind a text, and nobody insists.
std::vector<Continuation> FindContinuations(const Graph& graph, const RunnerOptions& options) {
  if (options.step > 0) return Continuations(graph);
  if (!options.continues) return {};
  try {
    return Continuations(graph);
  } catch (const UnsupportedError&) {
    return {};
  }
}

}  // namespace

struct ModelRunner::State {
  /// How a language model's logits are got at.
  enum class Reading {
    kWhole,     ///< a row for each token
    kLastOnly,  ///< a row for the last token
    kFed,       ///< the tokens are in a file of complete inputs
  };

  State(std::unique_ptr<Companions> own, Companions& all, size_t place,
        const RunnerOptions& options)
      : owned(std::move(own)),
        models(all),
        index(place),
        source(models.source(index)),
        hints(ReadFeedHints(source.model.directory())),
        feeder(source.graph, hints, models.InputsOf(index)),
        output(ChooseOutput(source.graph, options.task, options.output, options.by_token)),
        step(options.step),
        memory_budget(options.memory_budget),
        continuations(FindContinuations(source.graph, options)) {
    Load();
  }

  void Load() {
    std::vector<ValueId> goals = {output.value};
    for (const Continuation& cache : continuations) goals.push_back(cache.present);
    loaded.emplace(source.executor, std::move(goals), memory_budget);
  }

  std::unique_ptr<Companions> owned;
  Companions& models;
  size_t index;
  const Source& source;
  FeedHints hints;
  Feeder feeder;
  EvalOutput output;
  int64_t step;
  int64_t memory_budget;
  std::vector<Continuation> continuations;
  std::optional<LoadedModel> loaded;
  Reading reading = Reading::kWhole;
};

namespace {

CompanionOptions ToRun(const fs::path& samples) {
  CompanionOptions options{{}, Codes::kKeep, /*keep_weights=*/true};
  if (!samples.empty()) options.samples = {samples};
  return options;
}

}  // namespace

ModelRunner::ModelRunner(const fs::path& source, const RunnerOptions& options,
                         const fs::path& samples) {
  auto alone = std::make_unique<Companions>(std::vector<fs::path>{source}, ToRun({}));
  Companions& single = *alone;
  try {
    state_ = std::make_unique<State>(std::move(alone), single, 0, options);
  } catch (const UnsupportedError&) {
    const ModelGroup group = GroupOf(source);
    if (group.files.size() == 1 && samples.empty()) throw;
    auto group_models = std::make_unique<Companions>(group.files, ToRun(samples));
    Companions& models = *group_models;
    state_ = std::make_unique<State>(std::move(group_models), models, group.index, options);
  }
  FindReading();
}

ModelRunner::ModelRunner(Companions& models, size_t index, const RunnerOptions& options)
    : state_(std::make_unique<State>(nullptr, models, index, options)) {
  FindReading();
}

ModelRunner::~ModelRunner() = default;

EvalTask ModelRunner::task() const { return state_->output.task; }
const Graph& ModelRunner::graph() const { return state_->source.graph; }
const std::string& ModelRunner::output() const { return graph().value(state_->output.value).name; }
bool ModelRunner::by_token() const {
  const auto declared = graph().DeclaredType(state_->output.value);
  return !declared.shape.has_value() || declared.shape->size() == 3;
}
bool ModelRunner::has_caches() const { return !state_->continuations.empty(); }
bool ModelRunner::is_behind_encoder() const {
  return state_->models.IsBehindEncoder(state_->index) ||
         state_->models.HoldsEncoder(state_->index);
}
int64_t ModelRunner::vocabulary() const { return state_->models.VocabularyOf(state_->index); }
const FeedSamples* ModelRunner::feeds() const { return state_->models.FeedsOf(state_->index); }

std::string ModelRunner::reading() const {
  const State& state = *state_;
  if (task() != EvalTask::kLanguageModel) return "";
  std::string text;
  if (is_behind_encoder()) text = "teacher-forced behind the encoder";
  if (state.models.IsBehindPast(state.index)) {
    text += (text.empty() ? "" : ", ") +
            std::string("the last token of each text, behind the past that another model leaves");
  } else if (state.reading == State::Reading::kLastOnly) {
    text += (text.empty() ? "" : ", ") + std::string("only the last token has logits: ") +
            (has_caches() ? "one token at a time through the caches" : "each prefix by itself");
  } else if (state.step > 0) {
    text = std::to_string(state.step) + (state.step == 1 ? " token" : " tokens") +
           " at a time through the caches";
  }
  return text;
}

/// Finds out on three tokens whether a language model gives the last one's logits alone.
void ModelRunner::FindReading() {
  State& state = *state_;
  if (feeds() != nullptr) {
    state.reading = State::Reading::kFed;
    return;
  }
  if (task() != EvalTask::kLanguageModel || state.models.IsBehindPast(state.index)) return;
  if (FixedTokenShape(graph()).length > 0) return;
  const Shape shape = RunOnce({.ids = {0, 0, 0}}).shape();
  const bool single = shape.size() == 2 || (shape.size() == 3 && shape[1] == 1);
  if (!single || shape[0] != 1) return;
  state.reading = State::Reading::kLastOnly;
  if (has_caches() || is_behind_encoder()) return;
  state.continuations = FindContinuations(graph(), {.continues = true});
  if (has_caches()) state.Load();
}

/// The tokens that the model itself reads.
const std::vector<int64_t>& ModelRunner::ReadIds(const TokenizedText& text) const {
  return is_behind_encoder() && !text.target.empty() ? text.target : text.ids;
}

Values ModelRunner::InputsFor(const TokenizedText& text) const {
  const State& state = *state_;
  std::map<std::string, Tensor> given = state.models.InputsFor(state.index, text.ids, text.target);
  const bool whole = state.models.HoldsEncoder(state.index);
  const std::vector<int64_t>& read = whole ? text.ids : ReadIds(text);
  if (!text.types.empty()) {
    given["token_type_ids"] = Tensor::From<int64_t>({1, std::ssize(text.types)}, text.types);
  }
  return MakeInputs(graph(), state.hints, std::move(given), read, 1, std::ssize(read));
}

Tensor ModelRunner::RunOnce(const TokenizedText& text) const {
  return state_->loaded->Run(InputsFor(text)).at(state_->output.value);
}

Tensor ModelRunner::Run(const TokenizedText& text) const {
  if (state_->step > 0) return RunInSteps(text.ids);
  const bool fed = state_->reading == State::Reading::kFed;
  return Checked(RunOnce(text), fed ? -1 : std::ssize(ReadIds(text)));
}

Tensor ModelRunner::RunInSteps(const std::vector<int64_t>& ids) const {
  TextState text;
  Tensor all;
  const auto length = std::ssize(ids);
  for (int64_t seen = 0; seen < length; seen += state_->step) {
    const int64_t count = std::min(state_->step, length - seen);
    const std::vector<int64_t> next(ids.begin() + seen, ids.begin() + seen + count);
    const Tensor rows = Checked(Continue(next, text), count);
    if (!all.defined()) all = Tensor(DType::kFloat32, {length, rows.dim(1)});
    std::ranges::copy(rows.data<float>(), all.mutable_data<float>().begin() + seen * rows.dim(1));
  }
  return all;
}

/// Rows [first, T) of a model that gives one row at a time.
Tensor ModelRunner::RunLastTokens(const TokenizedText& text, int64_t first) const {
  const auto& read = is_behind_encoder() ? text.target : text.ids;
  const auto length = std::ssize(read);
  TextState state;
  Tensor all;
  for (int64_t t = first; t < length; ++t) {
    const int64_t begin = t == first ? 0 : t;
    Tensor row;
    if (is_behind_encoder()) {
      row = LastRow(RunOnce({.ids = text.ids, .target = {read.begin(), read.begin() + t + 1}}));
    } else {
      row = Next({read.begin() + begin, read.begin() + t + 1}, state);
    }
    if (!all.defined()) all = Tensor(DType::kFloat32, {length - first, row.size()});
    std::ranges::copy(row.data<float>(),
                      all.mutable_data<float>().begin() + (t - first) * row.size());
  }
  return all;
}

Predictions ModelRunner::Predict(const TokenizedText& given) const {
  const State& state = *state_;
  TokenizedText text = given;
  if (is_behind_encoder() && text.target.empty()) text.target = text.ids;
  if (!is_behind_encoder()) text.target.clear();
  Predictions found;
  if (state.reading == State::Reading::kFed) {
    const auto rows = feeds()->Rows(text.ids, 1, 1);
    const auto array = rows.find(is_behind_encoder() ? "decoder_input_ids" : "input_ids");
    if (array == rows.end()) return found;
    const std::vector<int64_t> tokens = array->second.ToInt64s();
    found.logits = Run(text);
    if (tokens.size() > 1) found.next.assign(tokens.begin() + 1, tokens.end());
    return found;
  }
  std::vector<int64_t>& tokens = is_behind_encoder() ? text.target : text.ids;
  if (state.models.IsBehindPast(state.index)) {
    const size_t least = is_behind_encoder() ? 2 : 3;
    if (tokens.size() < least) return found;
    found.next = {tokens.back()};
    tokens.pop_back();
    found.logits = LastRow(RunOnce(text));
    found.logits = found.logits.Reshaped({1, found.logits.size()});
    return found;
  }
  const int64_t predicted = std::ssize(tokens) - (is_behind_encoder() ? 0 : 1);
  const int64_t scored = text.scored > 0 ? std::min(text.scored, predicted) : predicted;
  if (scored <= 0) return found;
  found.next.assign(tokens.end() - scored, tokens.end());
  found.first = predicted - scored;
  if (state.reading == State::Reading::kWhole) {
    found.logits = Run(text);
    return found;
  }
  if (!is_behind_encoder()) tokens.pop_back();
  found.logits = RunLastTokens(text, found.first);
  found.first = 0;
  return found;
}

Tensor ModelRunner::Continue(const std::vector<int64_t>& ids, TextState& state) const {
  std::vector<int64_t>& seen = state.text.ids;
  const Values outputs =
      state_->loaded->Run(state_->feeder.MakeNext(ids, std::ssize(seen), state.caches));
  for (const auto& [past, present] : state_->continuations) {
    state.caches[past] = outputs.at(present);
  }
  seen.insert(seen.end(), ids.begin(), ids.end());
  return outputs.at(state_->output.value);
}

Tensor ModelRunner::Next(const std::vector<int64_t>& ids, TextState& state) const {
  if (has_caches()) return LastRow(Continue(ids, state));
  TokenizedText& text = state.text;
  if (!is_behind_encoder()) {
    text.ids.insert(text.ids.end(), ids.begin(), ids.end());
    return LastRow(RunOnce(text));
  }
  // What is read is the target moved by one place, so that any last token asks for the next one.
  text.target.insert(text.target.end(), ids.begin(), ids.end());
  TokenizedText asked = text;
  asked.target.push_back(0);
  return LastRow(RunOnce(asked));
}

Tensor ModelRunner::LastRow(const Tensor& given) const {
  const int64_t width = given.rank() >= 2 ? given.dim(-1) : 0;
  if (width == 0 || given.size() < width) {
    throw UnsupportedError("'" + graph().model().path().string() + "': output '" + output() +
                           "' has shape " + ToString(given.shape()) +
                           ", expected next-token logits [batch, length, vocabulary]");
  }
  const Tensor wide = given.ToFloat32();
  const std::span<const float> last = wide.data<float>().last(size_t(width));
  return Tensor::From<float>({width}, {last.begin(), last.end()});
}

/// `length`: tokens of the text; less than 0 where they are not known.
Tensor ModelRunner::Checked(const Tensor& given, int64_t length) const {
  const auto [task, value] = state_->output;
  const Tensor output = given.ToFloat32();
  const bool per_token =
      output.rank() == 3 && output.dim(0) == 1 && (length < 0 || output.dim(1) == length);
  if (per_token) return output.Reshaped({output.dim(1), output.dim(2)});
  const bool of_text = task == EvalTask::kScore ? output.rank() > 0 && output.dim(0) == 1
                                                : task == EvalTask::kEmbedding &&
                                                      output.rank() == 2 && output.dim(0) == 1;
  if (of_text) return output.Reshaped({output.size()});
  throw UnsupportedError("'" + graph().model().path().string() + "': output '" +
                         graph().value(value).name + "' has shape " + ToString(output.shape()) +
                         " for one text of " + std::to_string(length) +
                         " tokens, expected a row for each token" +
                         (task != EvalTask::kLanguageModel ? ", or one for the text" : ""));
}

}  // namespace ptq
