// Asks one question after the other of a calibration set.
#include <algorithm>
#include <cmath>
#include <optional>
#include <random>
#include <utility>

#include "convergence.h"
#include "filters.h"
#include "provenance.h"
#include "sampling.h"
#include "text_states.h"

#include "ptq/base/error.h"
#include "ptq/base/progress.h"
#include "ptq/base/stopwatch.h"
#include "ptq/calibrate/samples.h"
#include "ptq/flows/calib_check.h"
#include "ptq/text/near_duplicates.h"
#include "ptq/text/vocabulary.h"

namespace ptq {
namespace {

constexpr int64_t kShortText = 8;  ///< tokens
constexpr size_t kEvalRun = 13;    ///< words, as Brown et al. 2020 (GPT-3), appendix C
constexpr int64_t kTextsRead = 128;

using Ids = std::vector<int64_t>;

struct CheckedSet {
  std::vector<std::string> texts;
  std::vector<std::string> domains;
  std::vector<Ids> ids;         ///< with a tokenizer
  std::vector<int64_t> tokens;  ///< of each
};

CheckedSet ReadSet(const CheckRequest& request, const TextTools* tools,
                   std::vector<CorpusFile>& files) {
  CheckedSet set;
  const Progress progress("reading texts");
  files = ReadCorpus({request.files, request.split, request.domain_field},
                     tools != nullptr ? tools->chat() : nullptr, [&](CorpusText text) {
                       if (tools != nullptr) {
                         Ids ids = text.rendered ? tools->tokenizer->Encode(text.text, false)
                                                 : EncodeAtMost(*tools->tokenizer, text.text,
                                                                size_t(request.seq_len));
                         ids.resize(std::min(ids.size(), size_t(request.seq_len)));
                         set.tokens.push_back(std::ssize(ids));
                         set.ids.push_back(std::move(ids));
                       } else {
                         set.tokens.push_back(EstimateTokens(text.text));
                       }
                       set.texts.push_back(std::move(text.text));
                       set.domains.push_back(std::move(text.domain));
                     });
  if (set.texts.empty()) throw InputError("the calibration set holds no text");
  return set;
}

/// Some of the texts that the model can read, at random.
std::vector<Ids> Drawn(const std::vector<Ids>& ids, int64_t wanted, int64_t vocabulary,
                       std::mt19937_64& generator) {
  std::vector<Ids> usable;
  for (const Ids& row : ids) {
    if (!row.empty() && !FindOutside(row, vocabulary).has_value()) usable.push_back(row);
  }
  const auto count = std::min<size_t>(usable.size(), size_t(wanted));
  for (size_t i = 0; i < count; ++i) {
    std::swap(usable[i], usable[i + size_t(DrawUnit(generator) * double(usable.size() - i))]);
  }
  usable.resize(count);
  return usable;
}

/// 1 − |mean of directions|²: 0 for texts that the model sees as one.
double SpreadOf(const TextPoints& points) {
  std::vector<double> mean(size_t(points.width), 0);
  for (int64_t i = 0; i < points.count(); ++i) {
    const auto row = points.row(i);
    for (size_t j = 0; j < row.size(); ++j) mean[j] += row[j] / double(points.count());
  }
  double square = 0;
  for (const double x : mean) square += x * x;
  return std::max(0.0, 1 - square);
}

class Checker {
 public:
  Checker(const CheckRequest& request, const CheckedSet& set, CheckReport& report)
      : request_(request), limits_(request.limits), set_(set), report_(report) {}

  void AskAboutSize() {
    AtLeast("samples", double(set_.texts.size()), double(limits_.samples), "texts",
            "add texts: 128 or more are usual");
    std::vector<int64_t> sorted = set_.tokens;
    std::ranges::sort(sorted);
    report_.shortest = sorted.front();
    report_.median = sorted[sorted.size() / 2];
    report_.longest = sorted.back();
    for (const int64_t tokens : sorted) report_.tokens += tokens;
    AtLeast("median length", double(report_.median), double(limits_.median),
            "tokens of the middle text",
            "give texts as the model will see them, whole prompts and answers");
    const auto few = std::ranges::count_if(sorted, [](int64_t t) { return t < kShortText; });
    AtMost("short texts", double(few) / double(sorted.size()), limits_.short_texts,
           "share of texts under 8 tokens", "leave out what is short, or join it");
  }

  void AskAboutDiversity() {
    const auto first = FindNearDuplicates(set_.texts);
    double again = 0;
    for (size_t i = 0; i < first.size(); ++i) again += first[i] != i ? 1 : 0;
    AtMost("duplicates", again / double(first.size()), limits_.duplicates,
           "share of texts that nearly equal an earlier one",
           "leave them out: quantize calib build does");
    AtLeast("distinct runs", DistinctRuns(set_.texts, 3), limits_.distinct,
            "different runs of three words among all",
            "take texts from more sources; what repeats in all of them tells nothing new");
  }

  void AskAboutDomains() {
    if (request_.domain_field.empty()) return;
    std::map<std::string, int64_t> counts;
    for (const std::string& domain : set_.domains) ++counts[domain];
    for (const auto& [domain, count] : counts) {
      report_.domains[domain] = double(count) / double(set_.domains.size());
    }
    if (request_.composition.empty()) {
      double largest = 0;
      for (const auto& [domain, share] : report_.domains) largest = std::max(largest, share);
      AtMost("largest domain", largest, limits_.largest_domain, "share of the largest domain",
             "add texts of other domains, or state what is wanted with --composition");
      return;
    }
    double farthest = 0;
    std::string name;
    auto wanted = report_.domains;  // domains that nobody wants count, too
    for (auto& [domain, share] : wanted) share = 0;
    for (const auto& [domain, share] : request_.composition) wanted[domain] = share;
    for (const auto& [domain, share] : wanted) {
      const auto found = report_.domains.find(domain);
      const double is = found == report_.domains.end() ? 0 : found->second;
      if (name.empty() || std::abs(is - share) > farthest) {
        farthest = std::abs(is - share);
        name = domain;
      }
    }
    AtMost("domains", farthest, limits_.imbalance,
           "largest difference of a domain's share from the wanted one ('" + name + "')",
           "quantize calib build --domain-field " + request_.domain_field +
               " --composition … takes as many of each as wanted");
  }

  void AskAboutOverlap(const ChatTemplate* chat) {
    if (request_.eval_texts.empty()) return;
    RunIndex index(kEvalRun);
    (void)ReadCorpus({request_.eval_texts, request_.split, ""}, chat,
                     [&](const CorpusText& text) { index.Add(text.text); });
    const auto common = std::ranges::count_if(
        set_.texts, [&](const std::string& text) { return index.Overlaps(text); });
    AtMost("overlap", double(common) / double(set_.texts.size()), limits_.overlap,
           "share of texts that have 13 words in a row with an evaluation text",
           "leave them out: what is judged on texts it was tuned on looks better than it is");
  }

  void AskTheModel(const TextTools& tools) {
    const TextStates states(request_.model);
    std::mt19937_64 generator(request_.seed);
    const int64_t vocabulary = states.vocabulary();
    const std::vector<Ids> own =
        Drawn(set_.ids, std::min(kTextsRead, request_.samples), vocabulary, generator);
    if (own.size() < 2) throw InputError("the model can read fewer than two of the texts");
    std::vector<Ids> built_in;
    (void)ReadCorpus({{}, TextSplit::kAuto, ""}, tools.chat(), [&](const CorpusText& text) {
      built_in.push_back(tools.tokenizer->Encode(text.text, !text.rendered));
    });
    built_in = Drawn(built_in, kTextsRead / 2, vocabulary, generator);
    const double usual = built_in.size() < 2 ? 0 : SpreadOf(states.Of(built_in, kTokensRead));
    const double spread = SpreadOf(states.Of(own, kTokensRead));
    if (usual > 0) {
      AtLeast("spread", spread / usual, limits_.spread,
              "how far apart the model sees the texts, the built-in prompts being 1",
              "to the model the texts are nearly the same: take others");
    } else {
      report_.notes.emplace_back(
          "the model reads too few of the built-in prompts to compare the spread of states with");
    }
    if (!request_.convergence) return;
    const std::vector<Ids> samples = Drawn(set_.ids, request_.samples, vocabulary, generator);
    const HalfAgreement halves = CompareHalves(request_.model, samples, request_.seq_len);
    if (halves.sites == 0) {
      report_.notes.emplace_back("no layer of the model has statistics to compare");
      return;
    }
    AtMost("alphas", halves.alpha_change, limits_.alpha_change,
           "mean difference of the scaling exponents that the halves of the set choose",
           "the set is too small for the model, or too uneven: more texts change the scales");
    AtMost("losses", halves.loss_change, limits_.loss_change,
           "more loss by the other half's scales and codes",
           "the set is too small for the model, or too uneven: more texts change the scales");
  }

 private:
  void AtLeast(std::string name, double value, double limit, std::string what, std::string advice) {
    report_.verdicts.push_back(
        {std::move(name), value, true, limit, std::move(what), std::move(advice)});
  }
  void AtMost(std::string name, double value, double limit, std::string what, std::string advice) {
    report_.verdicts.push_back(
        {std::move(name), value, false, limit, std::move(what), std::move(advice)});
  }

  const CheckRequest& request_;
  const CheckLimits& limits_;
  const CheckedSet& set_;
  CheckReport& report_;
};

void Check(const CheckRequest& request, CheckReport& report) {
  if (!request.composition.empty() && request.domain_field.empty()) {
    throw UsageError("--composition needs --domain-field, which says what belongs to which domain");
  }
  std::optional<TextTools> tools;
  if (!request.model.empty() || !request.tokenizer.empty()) {
    tools = LoadTextTools(request.model, request.tokenizer);
  }
  const TextTools* const known = tools.has_value() ? &*tools : nullptr;
  const CheckedSet set = ReadSet(request, known, report.files);
  report.texts = std::ssize(set.texts);
  report.estimated = known == nullptr;
  Checker checker(request, set, report);
  checker.AskAboutSize();
  checker.AskAboutDiversity();
  checker.AskAboutDomains();
  checker.AskAboutOverlap(known != nullptr ? known->chat() : nullptr);
  if (!request.model.empty()) checker.AskTheModel(*tools);
}

}  // namespace

bool CheckReport::passed() const { return std::ranges::all_of(verdicts, &CheckVerdict::passed); }

CheckReport CheckCalibration(const CheckRequest& request) {
  CheckReport report;
  {
    const Stopwatch watch(report.seconds);
    Check(request, report);
  }
  return report;
}

nlohmann::ordered_json ToJson(const CheckRequest& request) {
  nlohmann::ordered_json composition = nlohmann::ordered_json::object();
  for (const auto& [domain, share] : request.composition) composition[domain] = share;
  const CheckLimits& limits = request.limits;
  return {{"domain_field", request.domain_field},
          {"composition", std::move(composition)},
          {"samples", request.samples},
          {"seq_len", request.seq_len},
          {"seed", request.seed},
          {"convergence", request.convergence},
          {"limits",
           {{"min_samples", limits.samples},
            {"min_median", limits.median},
            {"max_short", limits.short_texts},
            {"max_duplicates", limits.duplicates},
            {"min_distinct", limits.distinct},
            {"min_spread", limits.spread},
            {"max_imbalance", limits.imbalance},
            {"max_domain", limits.largest_domain},
            {"max_overlap", limits.overlap},
            {"max_alpha_change", limits.alpha_change},
            {"max_loss_change", limits.loss_change}}}};
}

nlohmann::ordered_json ToJson(const CheckReport& report) {
  nlohmann::ordered_json verdicts = nlohmann::ordered_json::array();
  for (const CheckVerdict& verdict : report.verdicts) {
    nlohmann::ordered_json advice;
    if (!verdict.passed()) advice = verdict.advice;
    verdicts.push_back({{"name", verdict.name},
                        {"value", verdict.value},
                        {"holds", verdict.at_least ? "at least" : "at most"},
                        {"limit", verdict.limit},
                        {"passed", verdict.passed()},
                        {"what", verdict.what},
                        {"advice", std::move(advice)}});
  }
  return {{"files", FilesJson(report.files)},
          {"texts", report.texts},
          {"tokens", report.tokens},
          {"tokens_estimated", report.estimated},
          {"lengths",
           {{"least", report.shortest}, {"median", report.median}, {"most", report.longest}}},
          {"domains", report.domains},
          {"verdicts", std::move(verdicts)},
          {"passed", report.passed()},
          {"notes", report.notes}};
}

}  // namespace ptq
