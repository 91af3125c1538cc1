// Keeps beside each text the entry that it came from, in the form that is written again.
#include "ptq/text/corpus.h"

#include <optional>
#include <utility>

#include "conversation.h"
#include "lines.h"
#include "read_entries.h"

#include "ptq/base/json.h"

namespace ptq {
namespace {

class CorpusSink : public EntrySink {
 public:
  CorpusSink(const CorpusOptions& options, ConversationWriter& writer,
             const std::function<void(CorpusText)>& take)
      : options_(options), writer_(writer), take_(take) {}

  void Begin(const OrderedJson& entry) override {
    domain_.clear();
    const auto found = entry.find(options_.domain_field);
    if (options_.domain_field.empty() || found == entry.end() || found->is_null()) return;
    domain_ = found->is_string() ? found->get<std::string>() : DumpJson(*found);
  }

  void Text(std::string text) override {
    OrderedJson entry = {{"text", text}};
    Take(std::move(text), false, std::move(entry));
  }

  void Pair(std::string first, std::string second) override {
    if (IsBlank(first) || IsBlank(second)) {
      ++empty;
      return;
    }
    OrderedJson entry = {{"query", first}, {"document", second}};
    Take(first + "\n" + second, false, std::move(entry));
  }

  void Conversation(OrderedJson messages, bool chat, const std::string& where) override {
    auto text = writer_.Write(messages, chat, where);
    if (!text.has_value()) return;
    OrderedJson entry = {{"messages", std::move(messages)}};
    if (!chat && !writer_.renders()) entry = {{"text", *text}};
    Take(*std::move(text), writer_.renders(), std::move(entry));
  }

  int64_t texts = 0;
  int64_t empty = 0;

 private:
  void Take(std::string text, bool rendered, OrderedJson entry) {
    if (IsBlank(text)) {
      ++empty;
      return;
    }
    ++texts;
    if (!domain_.empty()) entry[options_.domain_field] = domain_;
    take_({std::move(text), rendered, DumpJson(entry), domain_});
  }

  const CorpusOptions& options_;
  ConversationWriter& writer_;
  const std::function<void(CorpusText)>& take_;
  std::string domain_;
};

}  // namespace

std::vector<CorpusFile> ReadCorpus(const CorpusOptions& options, const ChatTemplate* chat_template,
                                   const std::function<void(CorpusText)>& take) {
  std::vector<CorpusFile> files;
  std::vector<std::string> columns;
  if (!options.domain_field.empty()) columns.push_back(options.domain_field);
  std::vector<CalibrationInput> inputs = ResolveCalibrationFiles(options.files);
  if (inputs.empty()) inputs.emplace_back();  // the prompts inside the program
  for (const CalibrationInput& input : inputs) {
    ConversationWriter writer(chat_template, CalibrationFileName(input.file));
    CorpusSink sink(options, writer, take);
    const EntryFile file = ReadEntries(input, options.split, columns, sink);
    files.push_back({file.name, file.format, file.sha256, sink.texts, sink.empty, writer.Notes()});
  }
  return files;
}

}  // namespace ptq
