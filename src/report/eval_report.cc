// The figures of an evaluation, each with its unit.
#include "ptq/report/eval_report.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>

#include "ptq/report/table.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

/// What there is for every kind of model: figures under their names, and the unit of each under
/// "units" at the end. `facts` are what else there is to say of the kind.
Json FramedJson(const char* task, const EvalSubject& subject, const Json& facts,
                const std::vector<Figure>& figures) {
  Json json = {{"task", task}, {"texts", subject.texts}, {"output", subject.output}};
  json.update(facts);
  if (!subject.reading.empty()) json["reading"] = subject.reading;
  if (subject.windows > 0) {
    json["windows"] = {
        {"count", subject.windows}, {"tokens", subject.seq_len}, {"stride", subject.stride}};
  }
  if (subject.cut.texts > 0) {
    json["cut"] = {{"texts", subject.cut.texts}, {"tokens", subject.cut.tokens}};
  }
  if (subject.pairs > 0) json["pairs"] = subject.pairs;
  Json units = Json::object();
  const auto put = [&](const std::string& key, const std::optional<double>& value,
                       const std::string& unit) {
    json[key] = value.has_value() ? Json(*value) : Json(nullptr);
    units[key] = unit;
  };
  for (const Figure& figure : figures) {
    put(figure.key, figure.value, figure.unit);
    if (figure.of_one_model && subject.compared) {
      put("reference_" + figure.key, figure.reference, figure.unit);
    }
  }
  json["units"] = std::move(units);
  return json;
}

Json RetrievalFacts(const std::optional<RetrievalScore>& score) {
  if (!score.has_value()) return Json::object();
  return {{"queries", score->queries}, {"documents", score->documents}};
}

Json JsonFor(const LanguageModelScore& score, const EvalSubject& subject) {
  return FramedJson("lm", subject, {{"tokens", score.tokens}}, FiguresOf(score));
}

Json JsonFor(const EmbeddingScore& score, const EvalSubject& subject) {
  Json facts = {{"pooling", subject.pooling.empty() ? Json(nullptr) : Json(subject.pooling)}};
  facts.update(RetrievalFacts(score.retrieval));
  return FramedJson("embed", subject, facts, FiguresOf(score));
}

Json JsonFor(const ScoreComparison& score, const EvalSubject& subject) {
  Json facts = {{"width", score.width}};
  facts.update(RetrievalFacts(score.retrieval));
  Json json = FramedJson("score", subject, facts, FiguresOf(score));
  if (score.reference_spread.has_value()) {
    json["reference_spread"] = *score.reference_spread;
    json["units"]["reference_spread"] = "standard deviation of the reference's scores";
  }
  return json;
}

Json JsonFor(const GenerationScore& score, const EvalSubject& subject) {
  const Json facts = {{"answered", score.answered}, {"tokens", score.tokens}};
  return FramedJson("generate", subject, facts, FiguresOf(score));
}

std::string Number(const std::optional<double>& value, int digits = 5) {
  return value.has_value() ? FormatNumber(*value, digits) : "-";
}

std::string Percent(const std::optional<double>& share) {
  return share.has_value() ? FormatPercent(*share) : "-";
}

/// "perplexity    " in front of what is said of it.
std::string FigureLine(std::string name, const std::string& value) {
  name.resize(std::max<size_t>(name.size() + 1, 14), ' ');
  return name + value + '\n';
}

/// A figure of one model, and the reference's behind it.
std::string Beside(const EvalSubject& subject, const std::string& own, const std::string& other) {
  return subject.compared ? own + " (reference " + other + ")" : own;
}

/// How many texts there are, and how they are read. `more`: what there is to count in them.
std::string TextLines(const EvalSubject& subject, const std::string& more) {
  std::string text = FigureLine("texts", std::to_string(subject.texts) + more);
  if (!subject.reading.empty()) text += FigureLine("read", subject.reading);
  if (subject.windows > 0) {
    text += FigureLine("windows",
                       std::to_string(subject.windows) + " of " + std::to_string(subject.seq_len) +
                           " tokens at most, moving on by " + std::to_string(subject.stride) +
                           "; each token counts once, with " +
                           std::to_string(subject.seq_len - subject.stride) +
                           " in front of it or all there are");
  }
  if (subject.cut.texts > 0) {
    text += FigureLine("cut", std::to_string(subject.cut.tokens) + " tokens of " +
                                  std::to_string(subject.cut.texts) + " texts of more than " +
                                  std::to_string(subject.seq_len) + " tokens");
  }
  return text;
}

std::string RetrievalLines(const std::optional<RetrievalScore>& score, const EvalSubject& subject) {
  if (!score.has_value()) return "";
  const std::vector<Figure> figures = FiguresOf(*score);
  const auto line = [&](const char* label, const char* name) {
    const Figure& figure = *FindFigure(figures, name);
    return FigureLine(label, Beside(subject, Number(figure.value), Number(figure.reference)));
  };
  std::string text = FigureLine("queries", std::to_string(score->queries) + ", " +
                                               std::to_string(score->documents) + " documents") +
                     line("MRR", "mrr") + line("nDCG@10", "ndcg10") + line("recall@1", "recall1") +
                     line("recall@10", "recall10");
  if (score->overlap.has_value()) {
    text += FigureLine("retrieved", FormatPercent(*score->overlap) + " of the first 10 agree");
  }
  return text;
}

std::string TextFor(const LanguageModelScore& score, const EvalSubject& subject) {
  std::string text =
      TextLines(subject, " (" + std::to_string(score.tokens) + " predicted tokens)") +
      FigureLine("perplexity", Beside(subject, FormatNumber(score.Perplexity(), 6),
                                      FormatNumber(score.ReferencePerplexity(), 6)));
  if (!score.compared) return text;
  return text + FigureLine("KL", FormatNumber(score.MeanKl(), 4) + " nats per token") +
         FigureLine("top-1 agrees", FormatPercent(score.TopAgreement()));
}

std::string Pairs(const EvalSubject& subject) {
  return subject.pairs == 0 ? "" : " (" + std::to_string(subject.pairs) + " pairs)";
}

std::string TextFor(const EmbeddingScore& score, const EvalSubject& subject) {
  std::string text =
      TextLines(subject, Pairs(subject)) +
      FigureLine("embedding",
                 subject.output + (subject.pooling.empty() ? "" : ", pooling " + subject.pooling));
  if (subject.compared) {
    text += FigureLine(
        "cosine", Number(score.cosine_mean) + " mean, " + Number(score.cosine_least) + " least");
  }
  if (score.top10_overlap.has_value()) {
    text += FigureLine("top-10", FormatPercent(*score.top10_overlap) + " of neighbours agree");
  }
  if (score.has_gold) {
    text += FigureLine("Spearman",
                       Beside(subject, Number(score.spearman), Number(score.reference_spearman)));
  }
  return text + RetrievalLines(score.retrieval, subject);
}

std::string TextFor(const ScoreComparison& score, const EvalSubject& subject) {
  const std::string classes =
      score.width > 1 ? ", " + std::to_string(score.width) + " classes" : std::string();
  std::string text = TextLines(subject, "") + FigureLine("scores", subject.output + classes);
  if (score.accuracy.has_value()) {
    text += FigureLine("accuracy",
                       Beside(subject, Percent(score.accuracy), Percent(score.reference_accuracy)));
  }
  if (subject.compared) {
    text +=
        FigureLine("differences",
                   Number(score.difference_mean) + " mean, " + Number(score.difference_largest) +
                       " largest (the scores' spread is " + Number(score.reference_spread) + ")");
  }
  if (subject.compared && score.width == 1) {
    text += FigureLine("ranks", Number(score.rank_correlation) + " correlation (Spearman)");
  }
  if (score.top1_agreement.has_value()) {
    text += FigureLine("top-1 agrees", FormatPercent(*score.top1_agreement));
  }
  if (score.has_gold) {
    text += FigureLine("Spearman", Beside(subject, Number(score.spearman) + " with the gold scores",
                                          Number(score.reference_spearman)));
  }
  return text + RetrievalLines(score.retrieval, subject);
}

std::string TextFor(const GenerationScore& score, const EvalSubject& subject) {
  std::string text = FigureLine("tasks", std::to_string(score.tasks) + " (" +
                                             std::to_string(score.tokens) + " tokens written)") +
                     FigureLine("written", "greedily, " + subject.reading);
  if (score.exact_match.has_value()) {
    text += FigureLine("exact match", Beside(subject, Percent(score.exact_match),
                                             Percent(score.reference_exact_match)));
  }
  if (!subject.compared) return text;
  text += FigureLine("same texts", Percent(score.same) + " of tasks");
  if (score.agreed_tokens.has_value()) {
    text += FigureLine("others", "agree in " + Number(score.agreed_tokens, 3) +
                                     " tokens before the first that differs (mean)");
  }
  return text;
}

/// A model's figures, each on a line of its own.
std::string TextOf(const EvalSubject& subject, const EvalScore& score) {
  return std::visit([&](const auto& found) { return TextFor(found, subject); }, score);
}

Json JsonOf(const EvalSubject& subject, const EvalScore& score) {
  return std::visit([&](const auto& found) { return JsonFor(found, subject); }, score);
}

std::string Indented(const std::string& lines) {
  std::string text;
  for (size_t begin = 0; begin < lines.size();) {
    const size_t end = lines.find('\n', begin);
    text += "  " + lines.substr(begin, end + 1 - begin);
    begin = end + 1;
  }
  return text;
}

}  // namespace

std::string EvalText(const Evaluation& evaluation) {
  std::string text;
  for (const PartEvaluation& part : evaluation.parts) {
    const bool judged = part.note.empty();
    text +=
        part.file + '\n' +
        Indented(judged ? TextOf(part.subject, part.score) : FigureLine("not judged", part.note));
  }
  const std::string all = TextOf(evaluation.subject, evaluation.score);
  return evaluation.parts.empty() ? all : text + "in all\n" + Indented(all);
}

Json EvalJson(const Evaluation& evaluation) {
  Json json = JsonOf(evaluation.subject, evaluation.score);
  if (evaluation.parts.empty()) return json;
  Json parts = Json::array();
  for (const PartEvaluation& part : evaluation.parts) {
    Json one = {{"file", part.file}};
    if (part.note.empty()) {
      one.update(JsonOf(part.subject, part.score));
    } else {
      one["note"] = part.note;
    }
    parts.push_back(std::move(one));
  }
  json["models"] = std::move(parts);
  return json;
}

}  // namespace ptq
