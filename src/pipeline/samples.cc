#include "ptq/pipeline/samples.h"

#include <optional>

#include "ptq/base/error.h"
#include "ptq/base/parallel.h"
#include "ptq/text/chat_template.h"
#include "ptq/text/sentence_pairs.h"
#include "ptq/text/tokenizer.h"

namespace ptq {
namespace {

struct TextTools {
  std::optional<Tokenizer> tokenizer;
  std::optional<ChatTemplate> chat_template;
};

TextTools LoadTextTools(const std::filesystem::path& model,
                        const std::filesystem::path& tokenizer) {
  TextTools tools;
  std::error_code error;
  if (!tokenizer.empty()) {
    const bool directory = std::filesystem::is_directory(tokenizer, error);
    tools.tokenizer =
        directory ? Tokenizer::FromDirectory(tokenizer) : Tokenizer::FromFile(tokenizer);
    tools.chat_template =
        ChatTemplate::FromDirectory(directory ? tokenizer : tokenizer.parent_path());
    return tools;
  }
  const auto directory = FindTokenizerDirectory(model);
  if (!directory.has_value()) {
    throw InputError("no tokenizer beside '" + model.string() +
                     "'; give --tokenizer (a tokenizer.json or its directory), or token ids "
                     "(.npz, .npy) instead of text");
  }
  tools.tokenizer = Tokenizer::FromDirectory(*directory);
  tools.chat_template = ChatTemplate::FromDirectory(*directory);
  return tools;
}

void CheckSentence(const std::vector<int64_t>& ids, int64_t vocabulary, const std::string& where) {
  if (ids.empty()) throw InputError(where + ": a sentence has no tokens");
  for (const int64_t id : ids) {
    if (vocabulary == 0 || id < vocabulary) continue;
    throw InputError(where + ": token id " + std::to_string(id) +
                     " is outside the model's vocabulary of " + std::to_string(vocabulary) +
                     "; the tokenizer does not belong to the model");
  }
}

}  // namespace

CalibrationSet ReadSamples(CalibrationOptions options, const std::filesystem::path& model,
                           const std::filesystem::path& tokenizer, int64_t vocabulary) {
  options.vocab_size = vocabulary;
  const std::string extension = options.file.extension().string();
  if (extension == ".npz" || extension == ".npy") return ReadCalibration(options, nullptr, nullptr);
  std::error_code error;
  const bool on_disk = !options.file.empty() && options.file != "-";
  if (on_disk && !std::filesystem::exists(options.file, error)) {
    throw InputError("file '" + options.file.string() + "' does not exist");
  }
  const TextTools tools = LoadTextTools(model, tokenizer);
  return ReadCalibration(options, &*tools.tokenizer,
                         tools.chat_template.has_value() ? &*tools.chat_template : nullptr);
}

std::optional<PairSamples> ReadPairSamples(const CalibrationOptions& options,
                                           const std::filesystem::path& model,
                                           const std::filesystem::path& tokenizer,
                                           int64_t vocabulary) {
  std::optional<SentencePairs> pairs = ReadSentencePairs(options.file);
  if (!pairs.has_value()) return std::nullopt;
  const TextTools tools = LoadTextTools(model, tokenizer);
  const size_t count = pairs->scores.size();
  PairSamples samples{std::vector<std::vector<int64_t>>(2 * count), std::move(pairs->scores)};
  ParallelFor(int64_t(2 * count), [&](int64_t i) {
    const size_t pair = size_t(i) % count;
    const std::string& text = size_t(i) < count ? pairs->first[pair] : pairs->second[pair];
    samples.ids[size_t(i)] = EncodeAtMost(*tools.tokenizer, text, size_t(options.seq_len));
    CheckSentence(samples.ids[size_t(i)], vocabulary,
                  options.file.filename().string() + ": pair " + std::to_string(pair + 1));
  });
  return samples;
}

int64_t VocabularySize(const Graph& graph) {
  for (const ValueId id : graph.graph_inputs()) {
    const Value& value = graph.value(id);
    if (value.name.find("input_ids") == std::string::npos) continue;
    for (const Use& use : value.uses) {
      const Node& node = graph.nodes()[size_t(use.node)];
      if (node.op_type() != "Gather" || use.input != 1) continue;
      const Value& table = graph.value(graph.inputs(use.node)[0]);
      if (table.constant != nullptr && table.constant->dims_size() == 2) {
        return table.constant->dims(0);
      }
    }
  }
  return 0;
}

}  // namespace ptq
