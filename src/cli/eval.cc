// quantize eval: measures a language model, an encoder or a scorer, alone or beside another.
#include <algorithm>
#include <iostream>
#include <limits>
#include <optional>

#include "json_output.h"
#include "recipe_options.h"
#include "values.h"
#include <nlohmann/json.hpp>

#include "ptq/base/hash.h"
#include "ptq/base/parallel.h"
#include "ptq/base/progress.h"
#include "ptq/cli/command.h"
#include "ptq/evaluate/embeddings.h"
#include "ptq/evaluate/language_model.h"
#include "ptq/evaluate/scores.h"
#include "ptq/evaluate/sentence_modules.h"
#include "ptq/pipeline/samples.h"
#include "ptq/report/eval_report.h"

namespace ptq {
namespace {

template <class T>
using Choices = std::vector<std::pair<std::string, T>>;

Choices<EvalTask> Tasks() {
  return {{"auto", EvalTask::kAuto},
          {"lm", EvalTask::kLanguageModel},
          {"embed", EvalTask::kEmbedding},
          {"score", EvalTask::kScore}};
}

Choices<std::optional<Pooling>> Poolings() {
  return {{"auto", std::nullopt},
          {"mean", Pooling::kMean},
          {"cls", Pooling::kCls},
          {"max", Pooling::kMax},
          {"last", Pooling::kLastToken},
          {"weighted-mean", Pooling::kWeightedMean},
          {"mean-sqrt-len", Pooling::kMeanSqrtLength}};
}

/// The name of one of the choices.
template <class T>
std::string NameOf(const T& value, const Choices<T>& choices) {
  return std::ranges::find(choices, value, &Choices<T>::value_type::second)->first;
}

/// Texts as token ids, with gold scores when they are pairs of sentences.
struct EvalTexts {
  std::vector<std::vector<int64_t>> ids;
  std::vector<double> gold;
};

class EvalCommand : public Command {
 public:
  explicit EvalCommand(CLI::App& app) {
    app.option_defaults()->group("Input");
    app.add_option("--src,src", source_, "Model: an .onnx file or its directory")
        ->type_name(kModelType)
        ->required();
    app.add_option(
           "--against", reference_,
           "Reference model, for KL divergence and top-1 agreement, cosines, or differences "
           "of scores")
        ->type_name(kModelType);
    app.add_option("--text", text_,
                   "Texts: .txt (blank lines separate), .jsonl, or token ids as .npz or .npy; for "
                   "an encoder also pairs of sentences with scores: .jsonl, .tsv or .csv")
        ->type_name(kFileType)
        ->required();
    AddTokenizerOption(app, tokenizer_);
    app.option_defaults()->group("Evaluation");
    AddChoice<EvalTask>(app, "--task", task_, Tasks(),
                        "lm: next-token logits; embed: sentence embeddings; score: rerankers, "
                        "regressors and classifiers; auto: as the model's outputs suggest");
    app.add_option("--output", output_, "Output of the model to judge")
        ->type_name("NAME")
        ->default_str("the one that users consume");
    AddChoice<std::optional<Pooling>>(
        app, "--pooling", pooling_, Poolings(),
        "How the states of tokens become an embedding; auto: as modules.json beside the model "
        "says, else their mean");
    AddWhole(app, "--seq-len", options_.seq_len, {.least = 1},
             "Tokens of a text at most; the rest is cut off")
        ->default_str("512");
    app.add_flag("--json", json_, "Print JSON instead of text");
    app.footer(
        "Examples:\n"
        "  quantize eval out/ --against model/ --text held-out.txt\n"
        "  quantize eval encoder-out/ --text sts.tsv --json");
  }

  ExitCode Run(const GlobalOptions& global) override {
    const ThreadLimit threads(global.threads);
    const bool pools = pooling_.has_value();
    const EvalTask task = pools && task_ == EvalTask::kAuto ? EvalTask::kEmbedding : task_;
    const ModelRunner model(source_, task, output_, pools);
    const EvalTexts texts = ReadTexts(model);
    std::optional<ModelRunner> reference;
    if (!reference_.empty()) reference.emplace(reference_, model.task(), output_, pools);
    const ModelRunner* other = reference.has_value() ? &*reference : nullptr;
    EvalSubject subject{texts.ids.size(), texts.gold.size(), model.output(), "", other != nullptr};
    switch (model.task()) {
      case EvalTask::kLanguageModel: Print(ScoreLanguageModel(model, other, texts), subject); break;
      case EvalTask::kScore:
        Print(CompareScores(model, other, texts.ids, texts.gold), subject);
        break;
      case EvalTask::kAuto:
      case EvalTask::kEmbedding: Print(ScoreEncoder(model, other, texts, subject), subject);
    }
    return ExitCode::kDone;
  }

 private:
  [[nodiscard]] EvalTexts ReadTexts(const ModelRunner& model) const {
    const Progress progress("reading texts");
    CalibrationOptions options = options_;
    options.files = {text_};
    options.samples = std::numeric_limits<int32_t>::max();
    options.long_text = LongText::kTruncate;
    const int64_t vocabulary = VocabularySize(model.graph());
    if (auto pairs = ReadPairSamples(options, source_, tokenizer_, vocabulary)) {
      if (model.task() == EvalTask::kEmbedding) {
        return {std::move(pairs->ids), std::move(pairs->scores)};
      }
      throw UsageError("'" + text_.string() +
                       "' holds pairs of sentences, which only an encoder is judged by; '" +
                       source_.string() + "' gives " +
                       (model.task() == EvalTask::kScore ? "scores" : "next-token logits") +
                       " (--task embed overrides)");
    }
    if (model.task() != EvalTask::kLanguageModel && reference_.empty()) {
      throw UsageError(
          model.task() == EvalTask::kScore
              ? "scores of single texts need another model's: give --against"
              : "embeddings of single texts need another model's: give --against, or pairs "
                "of sentences with scores as --text");
    }
    return {ReadSamples(options, source_, tokenizer_, vocabulary).ids, {}};
  }

  [[nodiscard]] LanguageModelScore ScoreLanguageModel(const ModelRunner& model,
                                                      const ModelRunner* reference,
                                                      const EvalTexts& texts) const {
    const LanguageModelScore score = Evaluate(model, reference, texts.ids);
    if (score.tokens > 0) return score;
    throw InputError("'" + text_.string() + "' holds no text of two tokens or more");
  }

  /// The modules beside either model; the same for both, so that only the models differ.
  [[nodiscard]] SentenceModules FindModules(const ModelRunner& model) const {
    if (pooling_.has_value()) return SentenceModules(*pooling_);
    if (!model.by_token()) return SentenceModules(Pooling::kMean);  // has nothing to do
    if (auto modules = SentenceModules::Find(source_)) return *std::move(modules);
    if (!reference_.empty()) {
      if (auto modules = SentenceModules::Find(reference_)) return *std::move(modules);
    }
    return SentenceModules(Pooling::kMean);
  }

  [[nodiscard]] EmbeddingScore ScoreEncoder(const ModelRunner& model, const ModelRunner* reference,
                                            const EvalTexts& texts, EvalSubject& subject) const {
    const SentenceModules modules = FindModules(model);
    if (model.by_token()) subject.pooling = modules.Description();
    const Embeddings own = Embed(model, modules, texts.ids);
    if (reference == nullptr) return ScoreEmbeddings(own, nullptr, texts.gold);
    const Embeddings other = Embed(*reference, modules, texts.ids);
    return ScoreEmbeddings(own, &other, texts.gold);
  }

  template <class Score>
  void Print(const Score& score, const EvalSubject& subject) const {
    if (json_) {
      nlohmann::ordered_json json = {{"recipe",
                                      {{"task", NameOf(task_, Tasks())},
                                       {"output", output_.empty() ? std::string("auto") : output_},
                                       {"pooling", NameOf(pooling_, Poolings())},
                                       {"seq_len", options_.seq_len}}},
                                     {"source", SourceJson(source_)},
                                     {"reference", nullptr}};
      if (!reference_.empty()) json["reference"] = SourceJson(reference_);
      json["text"] = {{"file", text_.filename().string()}, {"sha256", nullptr}};
      if (text_ != "-") json["text"]["sha256"] = Sha256OfFile(text_);
      json.update(EvalJson(score, subject));
      PrintJson("eval", json);
    } else {
      std::cout << EvalText(score, subject);
    }
  }

  std::filesystem::path source_, reference_, text_, tokenizer_;
  CalibrationOptions options_;
  EvalTask task_ = EvalTask::kAuto;
  std::string output_;
  std::optional<Pooling> pooling_;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeEvalCommand(CLI::App& app) {
  return std::make_unique<EvalCommand>(app);
}

}  // namespace ptq
