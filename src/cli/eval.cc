#include <iostream>
#include <limits>
#include <optional>

#include "choice.h"
#include <nlohmann/json.hpp>

#include "ptq/base/parallel.h"
#include "ptq/cli/command.h"
#include "ptq/evaluate/embeddings.h"
#include "ptq/evaluate/language_model.h"
#include "ptq/pipeline/samples.h"
#include "ptq/report/table.h"

namespace ptq {
namespace {

/// Texts as token ids, with gold scores when they are pairs of sentences.
struct EvalTexts {
  std::vector<std::vector<int64_t>> ids;
  std::vector<double> gold;
};

nlohmann::ordered_json ToJson(const LanguageModelScore& score, size_t texts) {
  nlohmann::ordered_json json;
  json["task"] = "lm";
  json["texts"] = texts;
  json["tokens"] = score.tokens;
  json["perplexity"] = score.Perplexity();
  if (score.compared) {
    json["kl"] = score.MeanKl();
    json["top1_agreement"] = score.TopAgreement();
  }
  json["units"] = {{"perplexity", "exp of the mean nats per token"}};
  if (score.compared) {
    json["units"]["kl"] = "nats per token";
    json["units"]["top1_agreement"] = "share of tokens";
  }
  return json;
}

std::string ToText(const LanguageModelScore& score, size_t texts) {
  std::string text = "texts         " + std::to_string(texts) + " (" +
                     std::to_string(score.tokens) + " predicted tokens)\n" + "perplexity    " +
                     FormatNumber(score.Perplexity(), 6) + '\n';
  if (score.compared) {
    text += "KL            " + FormatNumber(score.MeanKl(), 4) + " nats per token\n" +
            "top-1 agrees  " + FormatPercent(score.TopAgreement()) + '\n';
  }
  return text;
}

nlohmann::ordered_json ToJson(const EmbeddingScore& score, const EvalTexts& texts) {
  nlohmann::ordered_json json;
  nlohmann::ordered_json units = nlohmann::ordered_json::object();
  const auto put = [&](const char* name, const std::optional<double>& value, const char* unit) {
    if (value.has_value()) {
      json[name] = *value;
    } else {
      json[name] = nullptr;
    }
    units[name] = unit;
  };
  json["task"] = "embed";
  json["texts"] = texts.ids.size();
  if (score.cosine_mean.has_value()) {
    put("cosine_mean", score.cosine_mean, "cosine, -1 to 1");
    put("cosine_least", score.cosine_least, "cosine, -1 to 1");
    put("top10_overlap", score.top10_overlap, "share of the 10 nearest texts");
  }
  if (!texts.gold.empty()) {
    json["pairs"] = texts.gold.size();
    put("spearman", score.spearman, "correlation of ranks, -1 to 1");
    if (score.cosine_mean.has_value()) {
      put("reference_spearman", score.reference_spearman, "correlation of ranks, -1 to 1");
    }
  }
  json["units"] = std::move(units);
  return json;
}

std::string ToText(const EmbeddingScore& score, const EvalTexts& texts) {
  const auto number = [](const std::optional<double>& value) {
    return value.has_value() ? FormatNumber(*value, 5) : std::string("-");
  };
  std::string text = "texts         " + std::to_string(texts.ids.size());
  if (!texts.gold.empty()) text += " (" + std::to_string(texts.gold.size()) + " pairs)";
  text += '\n';
  if (score.cosine_mean.has_value()) {
    text += "cosine        " + number(score.cosine_mean) + " mean, " + number(score.cosine_least) +
            " least\n";
  }
  if (score.top10_overlap.has_value()) {
    text += "top-10        " + FormatPercent(*score.top10_overlap) + " of neighbours agree\n";
  }
  if (!texts.gold.empty()) {
    text += "Spearman      " + number(score.spearman);
    if (score.cosine_mean.has_value()) {
      text += " (reference " + number(score.reference_spearman) + ")";
    }
    text += '\n';
  }
  return text;
}

class EvalCommand : public Command {
 public:
  explicit EvalCommand(CLI::App& app) {
    app.add_option("--src,src", source_, "Model: an .onnx file or its directory")->required();
    app.add_option("--against", reference_,
                   "Reference model, for KL divergence and top-1 agreement, or cosines");
    app.add_option("--text", options_.file,
                   "Texts: .txt (blank lines separate), .jsonl, or token ids as .npz or .npy; for "
                   "an encoder also pairs of sentences with scores: .jsonl, .tsv or .csv")
        ->required();
    AddChoice<EvalTask>(app, "--task", task_,
                        {{"auto", EvalTask::kAuto},
                         {"lm", EvalTask::kLanguageModel},
                         {"embed", EvalTask::kEmbedding}},
                        "lm: next-token logits; embed: sentence embeddings; auto: as the model's "
                        "outputs suggest");
    app.add_option("--tokenizer", tokenizer_,
                   "tokenizer.json or its directory; default: beside the model");
    app.add_option("--seq-len", options_.seq_len, "Tokens of a text at most; the rest is cut off")
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
    app.add_flag("--json", json_, "Print JSON instead of text");
  }

  ExitCode Run(const GlobalOptions& global) override {
    const ThreadLimit threads(global.threads);
    const ModelRunner model(source_, task_);
    const EvalTexts texts = ReadTexts(model);
    std::optional<ModelRunner> reference;
    if (!reference_.empty()) reference.emplace(reference_, model.task());
    const ModelRunner* other = reference.has_value() ? &*reference : nullptr;
    if (model.task() == EvalTask::kLanguageModel) {
      Print(ScoreLanguageModel(model, other, texts), texts.ids.size());
    } else {
      Print(ScoreEncoder(model, other, texts), texts);
    }
    return ExitCode::kDone;
  }

 private:
  [[nodiscard]] EvalTexts ReadTexts(const ModelRunner& model) const {
    CalibrationOptions options = options_;
    options.samples = std::numeric_limits<int32_t>::max();
    options.long_text = LongText::kTruncate;
    const int64_t vocabulary = VocabularySize(model.graph());
    if (auto pairs = ReadPairSamples(options, source_, tokenizer_, vocabulary)) {
      if (model.task() == EvalTask::kEmbedding) {
        return {std::move(pairs->ids), std::move(pairs->scores)};
      }
      throw UsageError("'" + options.file.string() +
                       "' holds pairs of sentences, which only an encoder is judged by; '" +
                       source_.string() + "' gives next-token logits (--task embed overrides)");
    }
    if (model.task() == EvalTask::kEmbedding && reference_.empty()) {
      throw UsageError(
          "embeddings of single texts need another model's: give --against, or pairs "
          "of sentences with scores as --text");
    }
    return {ReadSamples(options, source_, tokenizer_, vocabulary).ids, {}};
  }

  [[nodiscard]] LanguageModelScore ScoreLanguageModel(const ModelRunner& model,
                                                      const ModelRunner* reference,
                                                      const EvalTexts& texts) const {
    const LanguageModelScore score = Evaluate(model, reference, texts.ids);
    if (score.tokens > 0) return score;
    throw InputError("'" + options_.file.string() + "' holds no text of two tokens or more");
  }

  [[nodiscard]] static EmbeddingScore ScoreEncoder(const ModelRunner& model,
                                                   const ModelRunner* reference,
                                                   const EvalTexts& texts) {
    const Embeddings own = Embed(model, texts.ids);
    if (reference == nullptr) return ScoreEmbeddings(own, nullptr, texts.gold);
    const Embeddings other = Embed(*reference, texts.ids);
    return ScoreEmbeddings(own, &other, texts.gold);
  }

  template <class Score, class Texts>
  void Print(const Score& score, const Texts& texts) const {
    if (json_) {
      std::cout << ToJson(score, texts).dump(2) << '\n';
    } else {
      std::cout << ToText(score, texts);
    }
  }

  std::filesystem::path source_, reference_, tokenizer_;
  CalibrationOptions options_;
  EvalTask task_ = EvalTask::kAuto;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeEvalCommand(CLI::App& app) {
  return std::make_unique<EvalCommand>(app);
}

}  // namespace ptq
