// Continues prompts, or nothing but a first token, by drawing from a model's own distribution.
#include <algorithm>
#include <limits>
#include <random>
#include <utility>

#include "provenance.h"
#include "sampling.h"

#include "ptq/base/destination.h"
#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/json.h"
#include "ptq/base/parallel.h"
#include "ptq/base/progress.h"
#include "ptq/base/stopwatch.h"
#include "ptq/calibrate/samples.h"
#include "ptq/evaluate/generation.h"
#include "ptq/evaluate/model_runner.h"
#include "ptq/flows/calib_generate.h"
#include "ptq/text/corpus.h"

namespace ptq {
namespace {

using Ids = std::vector<int64_t>;

/// What texts begin with.
struct Starts {
  std::vector<Ids> prompts;  ///< empty: `first`, or a random token
  Ids first;                 ///< what the tokenizer puts in front of texts
  Ids plain;                 ///< tokens that stand for text, when there is nothing else
  std::vector<CorpusFile> files;
};

/// The tokens that stand for text, and are no marks.
Ids PlainTokens(const Tokenizer& tokenizer, int64_t vocabulary) {
  Ids plain;
  const int64_t known = tokenizer.VocabSize();
  for (int64_t id = 0; id < (vocabulary > 0 ? std::min(vocabulary, known) : known); ++id) {
    const std::string text = tokenizer.Decode(std::span(&id, 1), /*skip_special_tokens=*/true);
    if (text.find_first_not_of(" \t\r\n") != std::string::npos) plain.push_back(id);
  }
  return plain;
}

/// Special tokens in front of a text; behind it they say that it is over.
Ids TokensInFront(const Tokenizer& tokenizer) {
  const Ids with = tokenizer.Encode("a", true);
  const Ids without = tokenizer.Encode("a", false);
  const auto start = std::search(with.begin(), with.end(), without.begin(), without.end());
  return {with.begin(), start};
}

Starts FindStarts(const GenerateRequest& request, const TextTools& tools, int64_t vocabulary) {
  Starts starts;
  starts.first = TokensInFront(*tools.tokenizer);
  if (request.prompts.empty()) {
    if (starts.first.empty()) starts.plain = PlainTokens(*tools.tokenizer, vocabulary);
    return starts;
  }
  starts.files = ReadCorpus({request.prompts, TextSplit::kAuto, ""}, tools.chat(),
                            [&](const CorpusText& text) {
                              Ids ids = text.rendered ? Ids() : starts.first;
                              const Ids more = tools.tokenizer->Encode(text.text, false);
                              ids.insert(ids.end(), more.begin(), more.end());
                              if (!ids.empty()) starts.prompts.push_back(std::move(ids));
                            });
  if (starts.prompts.empty()) throw InputError("the prompts hold no text");
  return starts;
}

/// Ranks of samples do not depend on each other, so each has a generator of its own.
std::mt19937_64 GeneratorOf(uint64_t seed, int64_t sample) {
  std::seed_seq sequence{uint32_t(seed), uint32_t(seed >> 32), uint32_t(sample), uint32_t{77}};
  return std::mt19937_64(sequence);
}

Ids StartOf(const Starts& starts, int64_t sample, std::mt19937_64& generator) {
  if (!starts.prompts.empty()) return starts.prompts[size_t(sample) % starts.prompts.size()];
  if (!starts.first.empty()) return starts.first;
  if (starts.plain.empty()) throw InputError("the tokenizer has no tokens that stand for text");
  return {starts.plain[size_t(DrawUnit(generator) * double(starts.plain.size()))]};
}

class Writer {
 public:
  Writer(const GenerateRequest& request, const ModelRunner& model, const Tokenizer& tokenizer,
         const Starts& starts)
      : request_(request),
        model_(model),
        tokenizer_(tokenizer),
        starts_(starts),
        limits_(ReadGenerationLimits(request.source)) {
    limits_.new_tokens = request.max_tokens;
  }

  /// The tokens of one text, its beginning included.
  [[nodiscard]] Ids Write(int64_t sample) const {
    std::mt19937_64 generator = GeneratorOf(request_.seed, sample);
    Ids ids = StartOf(starts_, sample, generator);
    if (limits_.context > 0 && std::ssize(ids) >= limits_.context) {
      ids.resize(size_t(limits_.context / 2));  // leaves room for something new
    }
    int64_t written = 0;
    const TokenChooser choose = [&](std::span<const float> logits) {
      if (written++ >= request_.min_tokens) return Draw(logits, generator);
      std::vector<float> allowed(logits.begin(), logits.end());
      for (const int64_t end : limits_.end_tokens) {
        if (end >= 0 && end < std::ssize(allowed)) {
          allowed[size_t(end)] = -std::numeric_limits<float>::infinity();
        }
      }
      return Draw(allowed, generator);
    };
    const Ids more = Generate(model_, ids, choose, limits_);
    ids.insert(ids.end(), more.begin(), more.end());
    return ids;
  }

  /// Without what the tokenizer will put in front of it again.
  [[nodiscard]] std::string Text(const Ids& ids) const {
    const bool marked = ids.size() > starts_.first.size() &&
                        std::equal(starts_.first.begin(), starts_.first.end(), ids.begin());
    return tokenizer_.Decode(std::span(ids).subspan(marked ? starts_.first.size() : 0), true);
  }

 private:
  int64_t Draw(std::span<const float> logits, std::mt19937_64& generator) const {
    return DrawToken(logits, {request_.temperature, request_.top_p}, generator);
  }

  const GenerateRequest& request_;
  const ModelRunner& model_;
  const Tokenizer& tokenizer_;
  const Starts& starts_;
  GenerationLimits limits_;
};

}  // namespace

nlohmann::ordered_json ToJson(const GenerateRequest& request) {
  nlohmann::ordered_json prompts = nlohmann::ordered_json::array();
  for (const auto& file : request.prompts) prompts.push_back(file.string());
  return {{"prompts", std::move(prompts)},
          {"samples", request.samples},
          {"max_tokens", request.max_tokens},
          {"min_tokens", request.min_tokens},
          {"temperature", request.temperature},
          {"top_p", request.top_p},
          {"seed", request.seed}};
}

GenerateReport GenerateCalibration(const GenerateRequest& request) {
  GenerateReport report;
  report.provenance = ProvenancePath(request.file);
  std::vector<std::filesystem::path> inputs;
  for (const CalibrationInput& input : ResolveCalibrationFiles(request.prompts)) {
    inputs.push_back(input.file);
  }
  CheckOutputFile(request.file, inputs);
  {
    const Stopwatch watch(report.seconds);
    const TextTools tools = LoadTextTools(request.source, request.tokenizer);
    const ModelRunner model(request.source, {.continues = true});
    if (model.task() != EvalTask::kLanguageModel) {
      throw UsageError("'" + request.source.string() +
                       "' gives no next-token logits, so it writes no texts");
    }
    const Starts starts = FindStarts(request, tools, VocabularySize(model.graph()));
    const Writer writer(request, model, *tools.tokenizer, starts);
    std::vector<Ids> texts(static_cast<size_t>(request.samples));
    Progress progress("generating", request.samples);
    for (int64_t begin = 0; begin < request.samples; begin += kTextsAtOnce) {
      const int64_t count = std::min(kTextsAtOnce, request.samples - begin);
      ParallelFor(count, [&](int64_t i) {
        texts[size_t(begin + i)] = writer.Write(begin + i);
        progress.Advance();
      });
    }
    std::string lines;
    for (const Ids& ids : texts) {
      const std::string text = writer.Text(ids);
      if (text.find_first_not_of(" \t\r\n") == std::string::npos) continue;
      lines += DumpJson(nlohmann::ordered_json{{"text", text}}) + "\n";
      ++report.samples;
      report.tokens += std::ssize(ids);
    }
    report.cached = model.has_caches();
    WriteCalibrationFile(request.file, lines,
                         {{"command", "calib generate"},
                          {"model", ModelJson(request.source)},
                          {"options", ToJson(request)},
                          {"prompts", FilesJson(starts.files)},
                          {"samples", report.samples},
                          {"tokens", report.tokens}});
  }
  if (!report.cached) {
    report.notes.emplace_back(
        "the model hands out no caches: each token read the whole text again");
  }
  return report;
}

}  // namespace ptq
