// quantize eval: measures a language model, an encoder or a scorer, alone or beside another.
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "json_output.h"
#include "options/recipe_options.h"
#include "options/values.h"
#include <nlohmann/json.hpp>

#include "ptq/base/file.h"
#include "ptq/base/hash.h"
#include "ptq/base/json.h"
#include "ptq/base/parallel.h"
#include "ptq/cli/command.h"
#include "ptq/emit/metadata.h"
#include "ptq/flows/evaluation.h"
#include "ptq/pipeline/directory.h"
#include "ptq/report/eval_report.h"
#include "ptq/report/report.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

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

Choices<Normalisation> Normalisations() {
  return {{"strip", Normalisation::kStrip},
          {"none", Normalisation::kNone},
          {"squad", Normalisation::kSquad},
          {"last-number", Normalisation::kLastNumber}};
}

/// What a model was, or each of a directory's.
Json SourcesJson(const std::filesystem::path& source) {
  const std::vector<std::filesystem::path> files = ModelFiles(source).files;
  if (files.size() == 1) return SourceJson(files.front());
  Json sources = Json::array();
  for (const auto& file : files) sources.push_back(SourceJson(file));
  return sources;
}

/// The name of one of the choices.
template <class T>
std::string NameOf(const T& value, const Choices<T>& choices) {
  return std::ranges::find(choices, value, &Choices<T>::value_type::second)->first;
}

class EvalCommand : public Command {
 public:
  explicit EvalCommand(CLI::App& app) {
    app.option_defaults()->group("Input");
    app.add_option("--src,src", request_.source,
                   "Model: an .onnx file, its directory, or one of models that belong together")
        ->type_name(kModelType)
        ->required();
    app.add_option(
           "--against", request_.reference,
           "Reference model, for KL divergence and top-1 agreement, cosines, or differences "
           "of scores")
        ->type_name(kModelType);
    app.add_option("--text", request_.text,
                   "Texts, as --calib takes them; pairs of sentences with scores, queries with "
                   "documents, texts with labels, or sources with targets, for models that are "
                   "judged by them; complete inputs as .npz")
        ->type_name(kFileType);
    app.add_option("--task-file", request_.task_file,
                   "Tasks instead of texts, .jsonl of \"prompt\" or \"messages\" and \"answer\": "
                   "what a language model answers greedily is compared")
        ->type_name(kFileType);
    AddTokenizerOption(app, request_.tokenizer);
    app.option_defaults()->group("Evaluation");
    AddChoice<EvalTask>(app, "--task", request_.task, Tasks(),
                        "lm: next-token logits; embed: sentence embeddings; score: rerankers, "
                        "regressors and classifiers; auto: as the model's outputs suggest");
    app.add_option("--output", request_.output, "Output of the model to judge")
        ->type_name("NAME")
        ->default_str("the one that users consume");
    AddChoice<std::optional<Pooling>>(
        app, "--pooling", request_.pooling, Poolings(),
        "How the states of tokens become an embedding; auto: as modules.json beside the model "
        "says, else their mean");
    AddWhole(app, "--seq-len", request_.seq_len, {.least = 1},
             "Tokens of a text at most; the rest is cut off")
        ->default_str("512");
    AddWhole(app, "--stride", request_.stride, {.least = 1},
             "Tokens by which windows of --seq-len move on over longer texts of a language model, "
             "so that nothing is cut")
        ->default_str("texts are cut");
    AddWhole(app, "--step", request_.step, {.least = 1},
             "Tokens that a language model is fed at a time, those before them through the caches "
             "that it hands out")
        ->default_str("all of the text");
    AddSize(app, "--memory-budget", request_.memory_budget,
            "Memory for weights of 16 bits that are held as float32, such as 3GiB; where they take "
            "more, each is widened whenever it is used, which takes longer")
        ->default_str("half of the machine's");
    AddReportOption(app, report_file_);
    AddGenerationOptions(app);
    app.add_flag("--json", json_, "Print JSON instead of text");
    app.footer(
        "Examples:\n"
        "  quantize eval out/ --against model/ --text held-out.txt\n"
        "  quantize eval encoder-out/ --text sts.tsv --json\n"
        "  quantize eval out/ --against model/ --task-file tasks.jsonl");
  }

  ExitCode Run(const GlobalOptions& global) override {
    const ThreadLimit threads(global.threads);
    CheckReportFile(report_file_, {request_.source, request_.reference, request_.text},
                    DirectoriesOf(request_));
    const Evaluation found = EvaluateModel(request_);
    Print(found);
    return ExitCode::kDone;
  }

 private:
  /// A result is what a run has written; its report lies beside it.
  static std::vector<std::filesystem::path> DirectoriesOf(const EvaluationRequest& request) {
    std::vector<std::filesystem::path> directories;
    for (const auto& model : {request.source, request.reference}) {
      if (std::filesystem::exists(model / kMetadataFileName)) directories.push_back(model);
    }
    return directories;
  }

  /// What was measured, and what the metadata beside the model tell of how it was made.
  void Report(const Json& measured) const {
    const auto metadata = request_.source / kMetadataFileName;
    Json report = Json::object();
    if (std::filesystem::exists(metadata)) {
      const auto written = ParseJson<Json>(ReadTextFile(metadata));
      // A bundle's metadata have no linears of their own.
      if (written.is_object() && !written.contains("bundle")) report = ReportOf(written);
    }
    report["title"] = TitleOf(request_.source);
    report["evaluation"] = measured;
    if (!request_.reference.empty()) {
      report["evaluation"]["reference"] = TitleOf(request_.reference);
    }
    WriteReport(report_file_, report);
  }

  void AddGenerationOptions(CLI::App& app) {
    AddWhole(app, "--max-new-tokens", request_.generation.new_tokens, {.least = 1},
             "Tokens of an answer at most")
        ->default_str("128");
    app.add_option("--stop", request_.generation.stop,
                   "A text in front of which an answer ends; may be given several times")
        ->type_name("TEXT");
    AddChoice<Normalisation>(app, "--normalize", request_.generation.normalisation,
                             Normalisations(),
                             "What answers need not have in common: strip: white space at both "
                             "ends; squad: case, punctuation, articles; last-number: all but the "
                             "last number");
  }

  [[nodiscard]] Json RecipeJson() const {
    const auto given = [](int64_t value) { return value > 0 ? Json(value) : Json(nullptr); };
    Json recipe = {{"task", NameOf(request_.task, Tasks())},
                   {"output", request_.output.empty() ? std::string("auto") : request_.output},
                   {"pooling", NameOf(request_.pooling, Poolings())},
                   {"seq_len", request_.seq_len},
                   {"stride", given(request_.stride)},
                   {"step", given(request_.step)}};
    if (request_.task_file.empty()) return recipe;
    const GenerationOptions& generation = request_.generation;
    recipe["max_new_tokens"] = generation.new_tokens;
    recipe["stop"] = generation.stop;
    recipe["normalize"] = NameOf(generation.normalisation, Normalisations());
    return recipe;
  }

  void Print(const Evaluation& found) const {
    if (!report_file_.empty()) Report(EvalJson(found));
    if (json_) {
      Json json = {{"recipe", RecipeJson()},
                   {"source", SourcesJson(request_.source)},
                   {"reference", nullptr}};
      if (!request_.reference.empty()) json["reference"] = SourcesJson(request_.reference);
      const bool tasks = !request_.task_file.empty();
      const std::filesystem::path& file = tasks ? request_.task_file : request_.text;
      Json& read = json[tasks ? "task_file" : "text"];
      read = {{"file", file.filename().string()}, {"sha256", nullptr}};
      std::error_code error;
      if (std::filesystem::is_regular_file(file, error)) read["sha256"] = Sha256OfFile(file);
      json.update(EvalJson(found));
      PrintJson("eval", json);
    } else {
      std::cout << EvalText(found);
    }
  }

  EvaluationRequest request_;
  std::filesystem::path report_file_;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeEvalCommand(CLI::App& app) {
  return std::make_unique<EvalCommand>(app);
}

}  // namespace ptq
