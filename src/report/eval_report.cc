// The figures of an evaluation, each with its unit.
#include "ptq/report/eval_report.h"

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
Json JsonOf(const char* task, const EvalSubject& subject, const Json& facts,
            const std::vector<Figure>& figures) {
  Json json = {{"task", task}, {"texts", subject.texts}, {"output", subject.output}};
  json.update(facts);
  if (!subject.reading.empty()) json["reading"] = subject.reading;
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

std::string Number(const std::optional<double>& value) {
  return value.has_value() ? FormatNumber(*value, 5) : "-";
}

std::string ReadingLine(const EvalSubject& subject) {
  return subject.reading.empty() ? "" : "read          " + subject.reading + '\n';
}

std::string TextsLine(const EvalSubject& subject) {
  std::string text = "texts         " + std::to_string(subject.texts);
  if (subject.pairs > 0) text += " (" + std::to_string(subject.pairs) + " pairs)";
  return text + '\n';
}

Json JsonFor(const LanguageModelScore& score, const EvalSubject& subject) {
  return JsonOf("lm", subject, {{"tokens", score.tokens}}, FiguresOf(score));
}

std::string TextFor(const LanguageModelScore& score, const EvalSubject& subject) {
  std::string text = "texts         " + std::to_string(subject.texts) + " (" +
                     std::to_string(score.tokens) + " predicted tokens)\n" + ReadingLine(subject) +
                     "perplexity    " + FormatNumber(score.Perplexity(), 6);
  if (score.compared) text += " (reference " + FormatNumber(score.ReferencePerplexity(), 6) + ")";
  text += '\n';
  if (score.compared) {
    text += "KL            " + FormatNumber(score.MeanKl(), 4) + " nats per token\n" +
            "top-1 agrees  " + FormatPercent(score.TopAgreement()) + '\n';
  }
  return text;
}

Json JsonFor(const EmbeddingScore& score, const EvalSubject& subject) {
  const Json pooling = subject.pooling.empty() ? Json(nullptr) : Json(subject.pooling);
  return JsonOf("embed", subject, {{"pooling", pooling}}, FiguresOf(score));
}

std::string TextFor(const EmbeddingScore& score, const EvalSubject& subject) {
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

Json JsonFor(const ScoreComparison& score, const EvalSubject& subject) {
  Json json = JsonOf("score", subject, {{"width", score.width}}, FiguresOf(score));
  if (score.reference_spread.has_value()) {
    json["reference_spread"] = *score.reference_spread;
    json["units"]["reference_spread"] = "standard deviation of the reference's scores";
  }
  return json;
}

std::string TextFor(const ScoreComparison& score, const EvalSubject& subject) {
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
        Indented(judged ? TextOf(part.subject, part.score) : "not judged    " + part.note + '\n');
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
