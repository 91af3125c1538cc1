// Knows what members data sets have beside their texts: targets, relevant documents, labels.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "eval_texts.h"

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/json.h"
#include "ptq/base/parallel.h"
#include "ptq/emit/sidecars.h"
#include "ptq/text/vocabulary.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;
using Two = std::array<const char*, 2>;

constexpr std::array<Two, 9> kTargets = {{{"source", "target"},
                                          {"input", "target"},
                                          {"inputs", "targets"},
                                          {"input", "output"},
                                          {"document", "summary"},
                                          {"article", "highlights"},
                                          {"question", "answer"},
                                          {"prompt", "completion"},
                                          {"instruction", "output"}}};
constexpr std::array<Two, 12> kQueries = {{{"query", "positive"},
                                           {"query", "positives"},
                                           {"query", "pos"},
                                           {"query", "document"},
                                           {"query", "documents"},
                                           {"query", "passage"},
                                           {"query", "doc"},
                                           {"query", "text"},
                                           {"question", "positive"},
                                           {"question", "passage"},
                                           {"question", "document"},
                                           {"anchor", "positive"}}};
constexpr std::array<Two, 5> kPairs = {{{"sentence1", "sentence2"},
                                        {"premise", "hypothesis"},
                                        {"question1", "question2"},
                                        {"text1", "text2"},
                                        {"text", "text_pair"}}};
constexpr std::array<const char*, 4> kTexts = {"text", "sentence", "content", "review"};
constexpr std::array<const char*, 5> kNegatives = {"negative", "negatives", "neg", "negs",
                                                   "hard_negative"};
constexpr std::array<const char*, 5> kTruths = {"label", "labels", "score", "similarity_score",
                                                "relevance"};

bool HasText(const Example& example, const char* name) { return TextIn(example, name).has_value(); }

template <size_t N>
const Two* NamesIn(const Example& example, const std::array<Two, N>& all) {
  const auto found = std::ranges::find_if(
      all, [&](const Two& two) { return HasText(example, two[0]) && HasText(example, two[1]); });
  return found == all.end() ? nullptr : &*found;
}

/// A number or a name; null where there is none.
Json TruthOf(const Example& example) {
  for (const char* name : kTruths) {
    const auto found = example.members.find(name);
    if (found != example.members.end() && !found->is_null() && !found->is_structured()) {
      return *found;
    }
  }
  return nullptr;
}

std::optional<double> TruthNumber(const Json& truth) {
  if (truth.is_number()) return truth.get<double>();
  if (truth.is_boolean()) return truth.get<bool>() ? 1 : 0;
  if (!truth.is_string()) return std::nullopt;
  const auto text = truth.get<std::string>();
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  return whole && std::isfinite(value) ? std::optional(value) : std::nullopt;
}

/// The names of classes, by config.json beside a model.
std::map<std::string, int64_t> ReadClasses(const std::filesystem::path& source) {
  std::error_code error;
  const bool folder = std::filesystem::is_directory(source, error);
  const auto path = SidecarDirectory(folder ? source : source.parent_path()) / "config.json";
  std::map<std::string, int64_t> classes;
  if (!std::filesystem::is_regular_file(path, error)) return classes;
  const auto config = ParseJson<Json>(ReadTextFile(path));
  if (!config.is_object() || !config.contains("id2label")) return classes;
  for (const auto& [number, name] : config["id2label"].items()) {
    int64_t id = 0;
    const auto [end, wrong] = std::from_chars(number.data(), number.data() + number.size(), id);
    const bool whole = wrong == std::errc() && end == number.data() + number.size();
    if (name.is_string() && whole) classes[name.get<std::string>()] = id;
  }
  return classes;
}

/// Makes texts of examples; counts what is cut.
class ExampleTexts {
 public:
  ExampleTexts(const std::vector<Example>& examples, const EvaluationRequest& request,
               const TextNeeds& needs)
      : examples_(examples),
        request_(request),
        needs_(needs),
        tools_(LoadTextTools(TokenizerOwner(request), request.tokenizer)) {}

  EvalTexts Targets(const Two& names) {
    std::vector<Part> sources, targets;
    for (const Example& example : examples_) {
      sources.push_back({Need(example, names[0]), "", example.where});
      targets.push_back({Need(example, names[1]), "", example.where});
    }
    EvalTexts texts = Encode(sources);
    EvalTexts behind = Encode(targets);
    for (size_t i = 0; i < texts.texts.size(); ++i) {
      texts.texts[i].target = std::move(behind.texts[i].ids);
    }
    texts.cut.texts += behind.cut.texts;
    texts.cut.tokens += behind.cut.tokens;
    return texts;
  }

  /// Texts, or pairs of them, with what is known of each.
  EvalTexts Labelled(const char* first, const char* second) {
    std::vector<Part> parts;
    for (const Example& example : examples_) {
      parts.push_back(
          {Need(example, first), second == nullptr ? "" : Need(example, second), example.where});
    }
    EvalTexts texts = Encode(parts);
    ReadTruths(texts.truth);
    return texts;
  }

  EvalTexts Retrieval(const Two& names) {
    FindDocuments(names);
    std::vector<Part> parts;
    if (needs_.scorer) {
      AddCandidates(parts);
      EvalTexts texts = Encode(parts);
      texts.truth.retrieval = std::move(set_);
      return texts;
    }
    for (const std::string& query : queries_) parts.push_back({query, "", name_});
    for (const std::string& document : documents_) parts.push_back({document, "", name_});
    EvalTexts texts = Encode(parts);
    set_.candidates.clear();
    texts.retrieval = std::move(set_);
    return texts;
  }

 private:
  struct Part {
    std::string first;
    std::string second;  ///< of a pair
    std::string where;
  };

  static std::string Need(const Example& example, const char* name) {
    auto text = TextIn(example, name);
    if (text.has_value() && text->find_first_not_of(" \t\r\n") != std::string::npos) return *text;
    throw InputError(example.where + ": no text \"" + name + "\", which the first entry has");
  }

  [[nodiscard]] EvalTexts Encode(const std::vector<Part>& parts) const {
    EvalTexts texts;
    texts.texts.resize(parts.size());
    std::vector<int64_t> cut(parts.size(), 0);
    const auto limit = size_t(request_.seq_len);
    ParallelFor(std::ssize(parts), [&](int64_t i) {
      const Part& part = parts[size_t(i)];
      TokenizedText& text = texts.texts[size_t(i)];
      if (part.second.empty()) {
        text.ids = EncodeAtMost(*tools_.tokenizer, part.first, limit, &cut[size_t(i)]);
      } else {
        EncodedPair pair =
            EncodePairAtMost(*tools_.tokenizer, part.first, part.second, limit, cut[size_t(i)]);
        text.ids = std::move(pair.ids);
        text.types = std::move(pair.types);
      }
      if (text.ids.empty()) throw InputError(part.where + ": a text has no tokens");
      const auto outside = FindOutside(text.ids, needs_.vocabulary);
      if (!outside.has_value()) return;
      throw InputError(part.where + ": token id " + std::to_string(*outside) +
                       " is outside the model's vocabulary of " +
                       std::to_string(needs_.vocabulary));
    });
    for (const int64_t tokens : cut) texts.cut.Add(tokens);
    return texts;
  }

  /// Numbers as gold scores, and as classes where they are whole; names as classes.
  void ReadTruths(ScoreTruth& truth) const {
    const auto classes = ReadClasses(request_.source);
    for (const Example& example : examples_) {
      const Json known = TruthOf(example);
      if (known.is_null())
        throw InputError(example.where + ": no label, which the first entry has");
      const auto number = TruthNumber(known);
      if (number.has_value()) truth.gold.push_back(*number);
      const auto named = known.is_string() ? classes.find(known.get<std::string>()) : classes.end();
      if (named != classes.end()) {
        truth.labels.push_back(named->second);
      } else if (number.has_value() && *number == std::floor(*number) && *number >= 0) {
        truth.labels.push_back(int64_t(*number));
      } else if (!number.has_value()) {
        throw InputError(example.where + ": the label " + DumpJson(known) +
                         " is no number, and id2label of config.json beside '" +
                         request_.source.string() + "' does not name it");
      }
    }
    if (truth.gold.size() < examples_.size()) truth.gold.clear();
    if (truth.labels.size() < examples_.size()) truth.labels.clear();
  }

  int64_t NumberIn(std::vector<std::string>& all, std::map<std::string, int64_t>& numbers,
                   const std::string& text) {
    const auto [place, added] = numbers.try_emplace(text, std::ssize(all));
    if (added) all.push_back(text);
    return place->second;
  }

  /// Documents that are no query's: of an entry without one, and of a list beside it.
  void AddCorpus(const Example& example, bool has_query,
                 std::map<std::string, int64_t>& document_numbers) {
    for (const char* name : {"corpus", "document", "passage", "text"}) {
      if (has_query && std::string_view(name) != "corpus") break;
      for (const std::string& text : TextsIn(example, name)) {
        (void)NumberIn(documents_, document_numbers, text);
      }
    }
  }

  /// The queries and documents, each text once, and which of them belong together.
  void FindDocuments(const Two& names) {
    std::map<std::string, int64_t> query_numbers, document_numbers;
    std::vector<std::set<int64_t>> relevant, candidates;
    for (const Example& example : examples_) {
      AddCorpus(example, HasText(example, names[0]), document_numbers);
      if (!HasText(example, names[0])) continue;
      const auto query = size_t(NumberIn(queries_, query_numbers, Need(example, names[0])));
      relevant.resize(queries_.size());
      candidates.resize(queries_.size());
      const auto graded = TruthNumber(TruthOf(example));
      for (const std::string& text : TextsIn(example, names[1])) {
        const int64_t document = NumberIn(documents_, document_numbers, text);
        candidates[query].insert(document);
        if (!graded.has_value() || *graded > 0) relevant[query].insert(document);
      }
      has_negatives_ = has_negatives_ || graded.has_value();
      for (const char* name : kNegatives) {
        for (const std::string& text : TextsIn(example, name)) {
          candidates[query].insert(NumberIn(documents_, document_numbers, text));
          has_negatives_ = true;
        }
      }
    }
    name_ = examples_.front().where;
    for (size_t query = 0; query < queries_.size(); ++query) {
      if (relevant[query].empty()) {
        throw InputError("'" + request_.text.string() +
                         "': no document is relevant to the query '" +
                         queries_[query].substr(0, 60) + "'");
      }
      set_.relevant.emplace_back(relevant[query].begin(), relevant[query].end());
      set_.candidates.emplace_back(candidates[query].begin(), candidates[query].end());
    }
    set_.queries = std::ssize(queries_);
    set_.documents = std::ssize(documents_);
  }

  /// Each query with its own documents; with all of them where nobody says which are wrong.
  void AddCandidates(std::vector<Part>& parts) {
    constexpr int64_t kMost = 100'000;
    if (!has_negatives_) {
      if (set_.queries * set_.documents > kMost) {
        throw UsageError("'" + request_.text.string() + "' names no \"negative\" documents, and " +
                         std::to_string(set_.queries * set_.documents) +
                         " pairs of all queries and documents are too many to judge");
      }
      for (auto& candidates : set_.candidates) {
        candidates.resize(size_t(set_.documents));
        for (int64_t i = 0; i < set_.documents; ++i) candidates[size_t(i)] = i;
      }
    }
    for (size_t query = 0; query < queries_.size(); ++query) {
      for (const int64_t document : set_.candidates[query]) {
        parts.push_back({queries_[query], documents_[size_t(document)], name_});
      }
    }
  }

  const std::vector<Example>& examples_;
  const EvaluationRequest& request_;
  const TextNeeds& needs_;
  TextTools tools_;
  std::vector<std::string> queries_, documents_;
  RetrievalSet set_;
  bool has_negatives_ = false;
  std::string name_;
};

}  // namespace

std::optional<EvalTexts> TextsOfExamples(const std::vector<Example>& examples,
                                         const EvaluationRequest& request, const TextNeeds& needs) {
  const Example& first = examples.front();
  if (needs.encoder_decoder) {
    const Two* names = NamesIn(first, kTargets);
    if (names == nullptr) return std::nullopt;
    return ExampleTexts(examples, request, needs).Targets(*names);
  }
  if (needs.language_model) return std::nullopt;
  if (const Two* names = NamesIn(first, kQueries)) {
    return ExampleTexts(examples, request, needs).Retrieval(*names);
  }
  if (!needs.scorer || TruthOf(first).is_null()) return std::nullopt;
  if (const Two* names = NamesIn(first, kPairs)) {
    return ExampleTexts(examples, request, needs).Labelled((*names)[0], (*names)[1]);
  }
  for (const char* name : kTexts) {
    if (HasText(first, name)) return ExampleTexts(examples, request, needs).Labelled(name, nullptr);
  }
  return std::nullopt;
}

}  // namespace ptq
