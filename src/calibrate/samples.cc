// Finds tokenizer and template, and reads samples with them.
#include "ptq/calibrate/samples.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/file_kind.h"
#include "ptq/base/parallel.h"
#include "ptq/model/constant_view.h"
#include "ptq/tensor/npz.h"
#include "ptq/text/sentence_pairs.h"
#include "ptq/text/vocabulary.h"

namespace ptq {
namespace {

/// Where only a SentencePiece model or a vocabulary lies, the libraries that read it can write a
/// tokenizer.json.
std::string WhyNoTokenizer(const std::filesystem::path& model) {
  const std::string none = "no tokenizer beside '" + model.string() + "'";
  const std::string advice =
      "give --tokenizer (a tokenizer.json or its directory), or token ids (.npz, .npy) instead of "
      "text";
  std::error_code error;
  std::filesystem::path directory = std::filesystem::absolute(model).lexically_normal();
  if (!std::filesystem::is_directory(directory, error)) directory = directory.parent_path();
  for (const auto& folder : {directory, directory.parent_path()}) {
    for (const char* name :
         {"tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.txt"}) {
      if (!std::filesystem::is_regular_file(folder / name, error)) continue;
      (void)MappedFile::Open(folder / name);  // says when it is a Git LFS pointer
      return none + " but '" + name +
             "'; make tokenizer.json of it: python -c \"import sys, transformers; "
             "transformers.AutoTokenizer.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[1])"
             "\" " +
             ShellWord(folder) + ", or " + advice;
    }
  }
  return none + "; " + advice;
}

void CheckFile(const CalibrationInput& input) {
  const std::filesystem::path& file = input.file;
  std::error_code error;
  if (file == "-") return;
  if (!std::filesystem::exists(file, error)) {
    throw InputError("file '" + file.string() + "' does not exist");
  }
  if (std::filesystem::is_directory(file, error)) {
    throw InputError("'" + file.string() + "' is a directory; give the files in it, as in '" +
                     (file / "*.jsonl").string() + "'");
  }
}

/// Leaves out the pairs of which the model cannot read a sentence.
void SkipPairs(const std::string& name, const SentencePairs& texts, const Tokenizer& tokenizer,
               int64_t vocabulary, PairSamples& samples) {
  const size_t count = texts.scores.size();
  SkippedTexts skipped(name, tokenizer, vocabulary, "pair");
  PairSamples kept;
  std::vector<std::vector<int64_t>> second;
  for (size_t pair = 0; pair < count; ++pair) {
    const auto& ids = samples.ids;
    const auto number = int64_t(pair) + 1;
    if (ids[pair].empty() || ids[count + pair].empty()) {
      throw InputError(name + ": pair " + std::to_string(number) + ": a sentence has no tokens");
    }
    const bool first = FindOutside(ids[pair], vocabulary).has_value();
    const std::string& text = first ? texts.first[pair] : texts.second[pair];
    if (skipped.Skip(ids[first ? pair : count + pair], number, text)) continue;
    kept.ids.push_back(ids[pair]);
    second.push_back(ids[count + pair]);
    kept.scores.push_back(texts.scores[pair]);
  }
  (void)skipped.Finish();
  if (skipped.count() == 0) return;
  kept.ids.insert(kept.ids.end(), second.begin(), second.end());
  kept.cut = samples.cut;
  samples = std::move(kept);
}

/// Which input of a node chooses rows of which other one; no table: -1.
struct Lookup {
  int indices = -1;
  int table = -1;
};
Lookup LookupOf(const Node& node) {
  const std::string& type = node.op_type();
  if (type == "Gather" || type == "GatherBlockQuantized") return {1, 0};
  if (type == "EmbedLayerNormalization") return {0, 2};
  return {};
}

/// Rows of the table that token ids lead to, by way of operators that do not change them.
int64_t RowsChosenBy(const Graph& graph, ValueId ids, int depth) {
  static const std::set<std::string> kKeep = {"Cast",    "Identity",  "Reshape",
                                              "Squeeze", "Unsqueeze", "Flatten"};
  constexpr int kDeepest = 8;
  for (const Use& use : graph.value(ids).uses) {
    if (use.input < 0) continue;
    const Node& node = graph.nodes()[size_t(use.node)];
    const Lookup lookup = LookupOf(node);
    int64_t rows = 0;
    if (use.input == lookup.indices && node.Int("axis", 0) == 0) {
      const auto table = ViewConstant(graph, graph.inputs(use.node)[size_t(lookup.table)]);
      if (table.has_value() && table->shape.size() == 2) rows = table->shape[0];
    } else if (use.input == 0 && depth < kDeepest && kKeep.contains(node.op_type())) {
      rows = RowsChosenBy(graph, graph.outputs(use.node)[0], depth + 1);
    }
    if (rows > 0) return rows;
  }
  return 0;
}

}  // namespace

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
  if (!directory.has_value()) throw NoTokenizer(WhyNoTokenizer(model));
  tools.tokenizer = Tokenizer::FromDirectory(*directory);
  tools.chat_template = ChatTemplate::FromDirectory(*directory);
  return tools;
}

CalibrationSet ReadSamples(CalibrationOptions options, const std::filesystem::path& model,
                           const std::filesystem::path& tokenizer, int64_t vocabulary) {
  options.vocab_size = vocabulary;
  const std::vector<CalibrationInput> inputs = ResolveCalibrationFiles(options.files);
  std::ranges::for_each(inputs, CheckFile);
  if (!inputs.empty() && std::ranges::all_of(inputs, IsArrayFile, &CalibrationInput::file)) {
    return ReadCalibration(options, nullptr, nullptr);
  }
  const TextTools tools = LoadTextTools(model, tokenizer);
  return ReadCalibration(options, &*tools.tokenizer, tools.chat());
}

std::optional<PairSamples> ReadPairSamples(const CalibrationOptions& options,
                                           const std::filesystem::path& model,
                                           const std::filesystem::path& tokenizer,
                                           int64_t vocabulary) {
  const std::filesystem::path& file = options.files.front();
  const std::optional<SentencePairs> pairs = ReadSentencePairs(file);
  if (!pairs.has_value()) return std::nullopt;
  const TextTools tools = LoadTextTools(model, tokenizer);
  const size_t count = pairs->scores.size();
  PairSamples samples{std::vector<std::vector<int64_t>>(2 * count), pairs->scores};
  std::vector<int64_t> cut(2 * count);
  ParallelFor(int64_t(2 * count), [&](int64_t i) {
    const size_t pair = size_t(i) % count;
    const std::string& text = size_t(i) < count ? pairs->first[pair] : pairs->second[pair];
    samples.ids[size_t(i)] =
        EncodeAtMost(*tools.tokenizer, text, size_t(options.seq_len), &cut[size_t(i)]);
  });
  for (const int64_t tokens : cut) samples.cut.Add(tokens);
  SkipPairs(CalibrationFileName(file), *pairs, *tools.tokenizer, vocabulary, samples);
  return samples;
}

PairUse PairUseOf(const Graph& graph) {
  for (const ValueId id : graph.graph_outputs()) {
    const auto& name = graph.value(id).name;
    const auto shape = graph.DeclaredType(id).shape;
    if (!shape.has_value() || !(name == "logits" || name == "scores" || name == "score")) continue;
    return shape->size() == 3 ? PairUse::kJoined : PairUse::kPair;
  }
  return PairUse::kTexts;
}

int64_t VocabularySize(const Graph& graph) {
  for (const ValueId id : graph.graph_inputs()) {
    const bool ids = graph.value(id).name.find("input_ids") != std::string::npos;
    if (const int64_t rows = ids ? RowsChosenBy(graph, id, 0) : 0; rows > 0) return rows;
  }
  return 0;
}

}  // namespace ptq
