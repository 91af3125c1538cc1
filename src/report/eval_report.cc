// The figures of an evaluation, each with its unit.
#include "ptq/report/eval_report.h"

#include <optional>

#include <nlohmann/json.hpp>

#include "ptq/report/table.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kRanks = "correlation of ranks, -1 to 1";

/// Figures under their names, and the unit of each under "units" at the end.
class Figures {
 public:
  Figures(const char* task, const EvalSubject& subject) {
    json_["task"] = task;
    json_["texts"] = subject.texts;
    json_["output"] = subject.output;
  }
  Json& json() { return json_; }

  void Put(const char* name, const std::optional<double>& value, const char* unit) {
    json_[name] = value.has_value() ? Json(*value) : Json(nullptr);
    units_[name] = unit;
  }
  Json Finish() {
    json_["units"] = units_;
    return json_;
  }

 private:
  Json json_;
  Json units_ = Json::object();
};

std::string Number(const std::optional<double>& value) {
  return value.has_value() ? FormatNumber(*value, 5) : "-";
}

std::string TextsLine(const EvalSubject& subject) {
  std::string text = "texts         " + std::to_string(subject.texts);
  if (subject.pairs > 0) text += " (" + std::to_string(subject.pairs) + " pairs)";
  return text + '\n';
}

}  // namespace

Json EvalJson(const LanguageModelScore& score, const EvalSubject& subject) {
  Figures figures("lm", subject);
  figures.json()["tokens"] = score.tokens;
  figures.Put("perplexity", score.Perplexity(), "exp of the mean nats per token");
  if (score.compared) {
    figures.Put("kl", score.MeanKl(), "nats per token");
    figures.Put("top1_agreement", score.TopAgreement(), "share of tokens");
  }
  return figures.Finish();
}

std::string EvalText(const LanguageModelScore& score, const EvalSubject& subject) {
  std::string text = "texts         " + std::to_string(subject.texts) + " (" +
                     std::to_string(score.tokens) + " predicted tokens)\n" + "perplexity    " +
                     FormatNumber(score.Perplexity(), 6) + '\n';
  if (score.compared) {
    text += "KL            " + FormatNumber(score.MeanKl(), 4) + " nats per token\n" +
            "top-1 agrees  " + FormatPercent(score.TopAgreement()) + '\n';
  }
  return text;
}

Json EvalJson(const EmbeddingScore& score, const EvalSubject& subject) {
  Figures figures("embed", subject);
  figures.json()["pooling"] = subject.pooling.empty() ? Json(nullptr) : Json(subject.pooling);
  if (subject.compared) {
    figures.Put("cosine_mean", score.cosine_mean, "cosine, -1 to 1");
    figures.Put("cosine_least", score.cosine_least, "cosine, -1 to 1");
    figures.Put("top10_overlap", score.top10_overlap, "share of the 10 nearest texts");
  }
  if (subject.pairs > 0) {
    figures.json()["pairs"] = subject.pairs;
    figures.Put("spearman", score.spearman, kRanks);
    if (subject.compared) figures.Put("reference_spearman", score.reference_spearman, kRanks);
  }
  return figures.Finish();
}

std::string EvalText(const EmbeddingScore& score, const EvalSubject& subject) {
  std::string text = TextsLine(subject) + "embedding     " + subject.output +
                     (subject.pooling.empty() ? "" : ", pooling " + subject.pooling) + '\n';
  if (subject.compared) {
    text += "cosine        " + Number(score.cosine_mean) + " mean, " + Number(score.cosine_least) +
            " least\n";
  }
  if (score.top10_overlap.has_value()) {
    text += "top-10        " + FormatPercent(*score.top10_overlap) + " of neighbours agree\n";
  }
  if (subject.pairs > 0) {
    text += "Spearman      " + Number(score.spearman);
    if (subject.compared) text += " (reference " + Number(score.reference_spearman) + ")";
    text += '\n';
  }
  return text;
}

Json EvalJson(const ScoreComparison& score, const EvalSubject& subject) {
  Figures figures("score", subject);
  figures.json()["width"] = score.width;
  if (subject.compared) {
    figures.Put("difference_mean", score.difference_mean, "mean |difference| of scores");
    figures.Put("difference_largest", score.difference_largest, "largest |difference| of scores");
    figures.Put("reference_spread", score.reference_spread,
                "standard deviation of the reference's scores");
    if (score.width == 1) figures.Put("rank_correlation", score.rank_correlation, kRanks);
    if (score.width != 1) {
      figures.Put("top1_agreement", score.top1_agreement, "share of rows with the same largest");
    }
  }
  if (subject.pairs > 0) {
    figures.json()["pairs"] = subject.pairs;
    figures.Put("spearman", score.spearman, kRanks);
    if (subject.compared) figures.Put("reference_spearman", score.reference_spearman, kRanks);
  }
  return figures.Finish();
}

std::string EvalText(const ScoreComparison& score, const EvalSubject& subject) {
  std::string text = TextsLine(subject) + "scores        " + subject.output;
  if (score.width > 1) text += ", " + std::to_string(score.width) + " classes";
  text += '\n';
  if (subject.compared) {
    text += "differences   " + Number(score.difference_mean) + " mean, " +
            Number(score.difference_largest) + " largest (the scores' spread is " +
            Number(score.reference_spread) + ")\n";
  }
  if (subject.compared && score.width == 1) {
    text += "ranks         " + Number(score.rank_correlation) + " correlation (Spearman)\n";
  }
  if (score.top1_agreement.has_value()) {
    text += "top-1 agrees  " + FormatPercent(*score.top1_agreement) + '\n';
  }
  if (subject.pairs > 0) {
    text += "Spearman      " + Number(score.spearman) + " with the gold scores";
    if (subject.compared) text += " (reference " + Number(score.reference_spearman) + ")";
    text += '\n';
  }
  return text;
}

}  // namespace ptq
