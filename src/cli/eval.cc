#include <iostream>
#include <limits>
#include <optional>

#include <nlohmann/json.hpp>

#include "ptq/base/parallel.h"
#include "ptq/cli/command.h"
#include "ptq/evaluate/language_model.h"
#include "ptq/pipeline/samples.h"
#include "ptq/report/table.h"

namespace ptq {
namespace {

class EvalCommand : public Command {
 public:
  explicit EvalCommand(CLI::App& app) {
    app.add_option("--src,src", source_, "Language model: an .onnx file or its directory")
        ->required();
    app.add_option("--against", reference_,
                   "Reference model, for KL divergence and top-1 agreement");
    app.add_option("--text", options_.file,
                   "Texts: .txt (blank lines separate), .jsonl, or token ids as .npz or .npy")
        ->required();
    app.add_option("--tokenizer", tokenizer_,
                   "tokenizer.json or its directory; default: beside the model");
    app.add_option("--seq-len", options_.seq_len, "Tokens of a text at most; the rest is cut off")
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
    app.add_flag("--json", json_, "Print JSON instead of text");
  }

  ExitCode Run(const GlobalOptions& global) override {
    const ThreadLimit threads(global.threads);
    const LogitsRunner model(source_);
    std::optional<LogitsRunner> reference;
    if (!reference_.empty()) reference.emplace(reference_);
    options_.samples = std::numeric_limits<int32_t>::max();
    options_.long_text = LongText::kTruncate;
    const CalibrationSet texts =
        ReadSamples(options_, source_, tokenizer_, VocabularySize(model.graph()));
    const LanguageModelScore score =
        Evaluate(model, reference.has_value() ? &*reference : nullptr, texts.ids);
    if (score.tokens == 0) {
      throw InputError("'" + options_.file.string() + "' holds no text of two tokens or more");
    }
    Print(score, texts.ids.size());
    return ExitCode::kDone;
  }

 private:
  void Print(const LanguageModelScore& score, size_t texts) const {
    if (json_) {
      nlohmann::ordered_json json;
      json["texts"] = texts;
      json["tokens"] = score.tokens;
      json["perplexity"] = score.Perplexity();
      if (score.compared) {
        json["kl"] = score.MeanKl();
        json["top1_agreement"] = score.TopAgreement();
      }
      std::cout << json.dump(2) << '\n';
      return;
    }
    std::cout << "texts         " << texts << " (" << score.tokens << " predicted tokens)\n"
              << "perplexity    " << FormatNumber(score.Perplexity(), 6) << '\n';
    if (score.compared) {
      std::cout << "KL            " << FormatNumber(score.MeanKl(), 4) << " nats per token\n"
                << "top-1 agrees  " << FormatPercent(score.TopAgreement()) << '\n';
    }
  }

  std::filesystem::path source_, reference_, tokenizer_;
  CalibrationOptions options_;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeEvalCommand(CLI::App& app) {
  return std::make_unique<EvalCommand>(app);
}

}  // namespace ptq
