// Judges the models of a directory, each fed what the others make, beside those of another one.
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "eval_texts.h"
#include "judge.h"

#include "ptq/base/error.h"
#include "ptq/base/progress.h"
#include "ptq/calibrate/companions.h"
#include "ptq/emit/sidecars.h"
#include "ptq/model/model_forms.h"
#include "ptq/pipeline/directory.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;

/// A model of the directory, and that of the other one of the same name but for its form.
struct Part {
  std::string file;
  std::string note;  ///< why it is not judged
  std::unique_ptr<ModelRunner> model;
  std::unique_ptr<ModelRunner> reference;
};

CompanionOptions ForRunning(const EvaluationRequest& request) {
  CompanionOptions options{{}, Codes::kKeep, /*keep_weights=*/true};
  if (!request.text.empty()) options.samples = {request.text};
  return options;
}

std::string BaseOf(const fs::path& file) { return FormOfName(file.stem().string()).base; }

/// The place of a model among others.
size_t PlaceOf(const fs::path& file, const std::vector<fs::path>& others) {
  const auto same = [&](const fs::path& other) { return BaseOf(other) == BaseOf(file); };
  return size_t(std::ranges::find_if(others, same) - others.begin());
}

bool Gives(Companions& models, size_t index, const std::string& output) {
  const Graph& graph = models.source(index).graph;
  const ValueId id = graph.Find(output);
  return output.empty() || (id != kNoValue && graph.value(id).graph_output);
}

class Directory {
 public:
  Directory(const EvaluationRequest& request, const std::vector<fs::path>& files)
      : request_(request), files_(files), models_(files, ForRunning(request)) {
    if (request.reference.empty()) return;
    others_ = ModelFiles(request.reference).files;
    if (others_.size() == 1) others_ = GroupOf(others_.front()).files;
    references_.emplace(others_, ForRunning(request));
  }

  void Load() {
    Progress progress("loading models", std::ssize(files_));
    const fs::path root = SidecarDirectory(files_.front().parent_path());
    for (size_t i = 0; i < files_.size(); ++i) {
      Part part;
      const fs::path file = fs::absolute(files_[i]).lexically_normal();
      part.file = file.lexically_relative(root).generic_string();
      try {
        part.note = LoadPart(i, part);
      } catch (const UnsupportedError& error) {
        part.note = error.what();
      }
      if (!part.note.empty()) part.model.reset();
      parts_.push_back(std::move(part));
      progress.Advance();
    }
  }

  Evaluation Judge() {
    std::vector<const ModelRunner*> runners;
    for (const Part& part : parts_) {
      if (part.model != nullptr) runners.push_back(part.model.get());
    }
    if (runners.empty()) RefuseAll();
    if (!request_.task_file.empty()) return JudgeWriter();
    const EvalTexts texts = ReadEvalTexts(request_, NeedsOf(runners));
    Evaluation all;
    for (const Part& part : parts_) all.parts.push_back(JudgePart(part, texts));
    Summarise(all);
    return all;
  }

 private:
  /// Why the part is not judged; empty when it is.
  std::string LoadPart(size_t index, Part& part) {
    if (!Gives(models_, index, request_.output)) return "has no output '" + request_.output + "'";
    part.model = std::make_unique<ModelRunner>(models_, index, RunnerOptionsFor(request_, nullptr));
    const bool for_language_models = request_.stride > 0 || request_.step > 0;
    if (for_language_models && part.model->task() != EvalTask::kLanguageModel) {
      return "--stride and --step are for language models";
    }
    CheckOptionsFor(request_, *part.model);
    if (request_.reference.empty()) {
      const bool alone = part.model->task() == EvalTask::kLanguageModel;
      return alone ? "" : "judged beside another only: give --against";
    }
    const size_t place = PlaceOf(files_[index], others_);
    if (place == others_.size()) return "'" + request_.reference.string() + "' has no such model";
    part.reference = std::make_unique<ModelRunner>(*references_, place,
                                                   RunnerOptionsFor(request_, part.model.get()));
    return "";
  }

  /// The language model that can begin a text, on tasks.
  Evaluation JudgeWriter() {
    for (size_t i = 0; i < parts_.size(); ++i) {
      const Part& part = parts_[i];
      const bool writes = part.model != nullptr && !models_.IsBehindPast(i) &&
                          part.model->task() == EvalTask::kLanguageModel;
      if (writes) return JudgeGenerations(request_, *part.model, part.reference.get());
    }
    throw UsageError("--task-file is for language models, and none of the models in '" +
                     request_.source.string() + "' gives next-token logits");
  }

  [[noreturn]] void RefuseAll() const {
    std::string why;
    for (const Part& part : parts_) {
      why += (why.empty() ? "" : "; ") + ("'" + part.file + "': " + part.note);
    }
    throw UnsupportedError("none of the models in '" + request_.source.string() +
                           "' can be judged: " + why);
  }

  [[nodiscard]] PartEvaluation JudgePart(const Part& part, const EvalTexts& texts) const {
    PartEvaluation judged;
    judged.file = part.file;
    judged.note = part.note;
    if (part.model == nullptr) return judged;
    if ((!texts.gold.empty() || texts.retrieval.has_value()) &&
        part.model->task() != EvalTask::kEmbedding) {
      judged.note = "the texts are for encoders";
      return judged;
    }
    const Progress progress(part.file);
    Evaluation one = ptq::Judge(request_, *part.model, part.reference.get(), texts);
    judged.subject = std::move(one.subject);
    judged.score = one.score;
    return judged;
  }

  /// All language models together, or the last of the others.
  static void Summarise(Evaluation& all) {
    LanguageModelScore sum;
    for (const PartEvaluation& part : all.parts) {
      if (!part.note.empty()) continue;
      const auto* score = std::get_if<LanguageModelScore>(&part.score);
      if (score != nullptr) sum.Merge(*score);
      if (score == nullptr && sum.tokens > 0) continue;
      all.subject = part.subject;
      all.score = part.score;
      if (score != nullptr) all.score = sum;
    }
  }

  const EvaluationRequest& request_;
  const std::vector<fs::path>& files_;
  Companions models_;
  std::vector<fs::path> others_;
  std::optional<Companions> references_;
  std::vector<Part> parts_;
};

}  // namespace

Evaluation JudgeDirectory(const EvaluationRequest& request, const std::vector<fs::path>& files) {
  Directory directory(request, files);
  directory.Load();
  return directory.Judge();
}

}  // namespace ptq
