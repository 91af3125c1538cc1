// From texts to a file: filter, thin out, sort into strata, choose from each.
#include <algorithm>
#include <numeric>
#include <optional>
#include <random>
#include <utility>

#include "choose.h"
#include "filters.h"
#include "provenance.h"
#include "sampling.h"
#include "text_states.h"

#include "ptq/base/destination.h"
#include "ptq/base/error.h"
#include "ptq/base/progress.h"
#include "ptq/base/stopwatch.h"
#include "ptq/calibrate/samples.h"
#include "ptq/flows/calib_build.h"
#include "ptq/text/calibration_files.h"

namespace ptq {
namespace {

/// Texts that are chosen from together.
struct Stratum {
  std::string name;
  std::vector<size_t> members;  ///< candidates
  int64_t texts = 0;            ///< that the candidates stand for
};

void CheckBuildRequest(const BuildRequest& request) {
  if (request.min_tokens > request.max_tokens) {
    throw UsageError("--min-tokens is above --max-tokens");
  }
  if (!request.composition.empty() && request.domain_field.empty()) {
    throw UsageError("--composition needs --domain-field, which says what belongs to which domain");
  }
  std::vector<std::filesystem::path> inputs;
  for (const CalibrationInput& input : ResolveCalibrationFiles(request.sources)) {
    inputs.push_back(input.file);
  }
  CheckOutputFile(request.file, inputs);
}

double ShareOf(const BuildRequest& request, const std::string& domain) {
  const auto found =
      std::ranges::find(request.composition, domain, &std::pair<std::string, double>::first);
  return found == request.composition.end() ? 0 : found->second;
}

/// With a composition only its domains count.
void DropOtherDomains(const BuildRequest& request, Kept& kept) {
  if (request.composition.empty()) return;
  const auto removed = std::erase_if(
      kept.texts, [&](const KeptText& text) { return ShareOf(request, text.text.domain) <= 0; });
  if (removed > 0) kept.dropped["domain"] = int64_t(removed);
  for (const auto& entry : request.composition) {
    const std::string& domain = entry.first;
    const bool there = std::ranges::any_of(
        kept.texts, [&](const KeptText& text) { return text.text.domain == domain; });
    if (!there) throw InputError("no text is left of the domain '" + domain + "'");
  }
}

/// Domains in the order of their first texts; one for all without a field.
std::vector<Stratum> DomainsOf(const Kept& kept) {
  std::vector<Stratum> strata;
  for (size_t i = 0; i < kept.texts.size(); ++i) {
    const std::string& name = kept.texts[i].text.domain;
    auto found = std::ranges::find(strata, name, &Stratum::name);
    if (found == strata.end()) found = strata.insert(found, Stratum{name, {}, 0});
    found->members.push_back(i);
    ++found->texts;
  }
  return strata;
}

/// At random, of each domain as many as it gives samples in proportion.
void ThinOutCandidates(const BuildRequest& request, std::mt19937_64& generator, Kept& kept,
                       std::vector<Stratum>& strata) {
  std::vector<int64_t> sizes;
  std::vector<double> shares;
  for (const Stratum& stratum : strata) {
    sizes.push_back(stratum.texts);
    if (!request.composition.empty()) shares.push_back(ShareOf(request, stratum.name));
  }
  const auto parts = ShareOut(sizes, shares, std::max(request.candidates, request.samples));
  std::vector<KeptText> candidates;
  for (size_t s = 0; s < strata.size(); ++s) {
    std::vector<size_t>& members = strata[s].members;
    for (size_t i = 0; i < size_t(parts[s]); ++i) {
      const auto left = double(members.size() - i);
      std::swap(members[i], members[i + size_t(DrawUnit(generator) * left)]);
    }
    members.resize(size_t(parts[s]));
    std::ranges::sort(members);
    for (size_t& member : members) {
      candidates.push_back(std::move(kept.texts[member]));
      member = candidates.size() - 1;
    }
  }
  kept.texts = std::move(candidates);
}

TextPoints PointsOf(const TextStates* states, const Kept& kept) {
  TextPoints points;
  if (states != nullptr) {
    std::vector<std::vector<int64_t>> ids;
    for (const KeptText& text : kept.texts) ids.push_back(text.ids);
    points = states->Of(ids, kTokensRead);
  } else {
    std::vector<std::string> texts;
    for (const KeptText& text : kept.texts) texts.push_back(text.text.text);
    points = WordPoints(texts);
  }
  CenterPoints(points);
  return points;
}

/// Clusters in the place of the only domain.
std::vector<Stratum> ClustersOf(const BuildRequest& request, const TextPoints& points,
                                std::mt19937_64& generator) {
  const std::vector<int> cluster = ClusterPoints(points, int(request.clusters), generator);
  std::vector<Stratum> strata;
  for (size_t i = 0; i < cluster.size(); ++i) {
    const auto c = size_t(cluster[i]);
    if (c == strata.size()) strata.push_back({"cluster " + std::to_string(c + 1), {}, 0});
    strata[c].members.push_back(i);
    ++strata[c].texts;
  }
  return strata;
}

/// The chosen candidates, in their order.
std::vector<size_t> Choose(const BuildRequest& request, const TextPoints& points,
                           const std::vector<Stratum>& strata, BuildReport& report) {
  std::vector<int64_t> sizes, texts;
  std::vector<double> shares;
  for (const Stratum& stratum : strata) {
    sizes.push_back(std::ssize(stratum.members));
    shares.push_back(request.composition.empty() ? double(stratum.texts)
                                                 : ShareOf(request, stratum.name));
  }
  const auto parts = ShareOut(sizes, shares, request.samples);
  std::vector<size_t> chosen;
  for (size_t s = 0; s < strata.size(); ++s) {
    const auto some = ChooseCover(points, strata[s].members, parts[s]);
    chosen.insert(chosen.end(), some.begin(), some.end());
    report.strata.push_back({strata[s].name, strata[s].texts, parts[s]});
  }
  std::ranges::sort(chosen);
  return chosen;
}

/// What is needed of the model, if there is one.
struct BuildTools {
  std::optional<TextTools> text;
  std::optional<TextStates> states;
};

void LoadBuildTools(const BuildRequest& request, BuildTools& tools) {
  if (!request.model.empty()) tools.states.emplace(request.model);
  if (request.model.empty() && request.tokenizer.empty()) return;
  tools.text = LoadTextTools(request.model, request.tokenizer);
}

void Build(const BuildRequest& request, BuildReport& report) {
  CheckBuildRequest(request);
  BuildTools tools;
  LoadBuildTools(request, tools);
  std::vector<CorpusText> texts;
  {
    const Progress progress("reading texts");
    const ChatTemplate* const chat = tools.text.has_value() ? tools.text->chat() : nullptr;
    report.files = ReadCorpus({request.sources, request.split, request.domain_field}, chat,
                              [&](CorpusText text) { texts.push_back(std::move(text)); });
  }
  Kept kept =
      FilterTexts(request, std::move(texts), tools.text.has_value() ? &*tools.text : nullptr,
                  tools.states.has_value() ? tools.states->vocabulary() : 0);
  DropOtherDomains(request, kept);
  report.dropped = kept.dropped;
  report.masked = kept.masked;
  report.masked_texts = kept.masked_texts;
  if (kept.texts.empty()) {
    throw InputError("no text is left: all are too short or too long, or were left out");
  }
  std::mt19937_64 generator(request.seed);
  std::vector<Stratum> strata = DomainsOf(kept);
  ThinOutCandidates(request, generator, kept, strata);
  report.candidates = std::ssize(kept.texts);
  const TextPoints points = PointsOf(tools.states.has_value() ? &*tools.states : nullptr, kept);
  if (request.domain_field.empty()) strata = ClustersOf(request, points, generator);
  std::string lines;
  for (const size_t i : Choose(request, points, strata, report)) {
    lines += kept.texts[i].text.entry + "\n";
    ++report.samples;
    report.tokens += kept.texts[i].tokens;
  }
  nlohmann::ordered_json body = {{"command", "calib build"}, {"model", nullptr}};
  if (!request.model.empty()) body["model"] = ModelJson(request.model);
  body["options"] = ToJson(request);
  body.update(ToJson(report));
  WriteCalibrationFile(request.file, lines, body);
}

}  // namespace

nlohmann::ordered_json ToJson(const BuildRequest& request) {
  nlohmann::ordered_json sources = nlohmann::ordered_json::array();
  for (const auto& source : request.sources) sources.push_back(source.string());
  nlohmann::ordered_json composition = nlohmann::ordered_json::object();
  for (const auto& [domain, share] : request.composition) composition[domain] = share;
  return {{"sources", std::move(sources)},
          {"samples", request.samples},
          {"min_tokens", request.min_tokens},
          {"max_tokens", request.max_tokens},
          {"languages", request.languages},
          {"matching", request.matching},
          {"without", request.without},
          {"mask", request.mask},
          {"similarity", request.similarity},
          {"domain_field", request.domain_field},
          {"composition", std::move(composition)},
          {"clusters", request.clusters},
          {"candidates", request.candidates},
          {"seed", request.seed}};
}

nlohmann::ordered_json ToJson(const BuildReport& report) {
  nlohmann::ordered_json strata = nlohmann::ordered_json::array();
  for (const BuildStratum& stratum : report.strata) {
    strata.push_back(
        {{"name", stratum.name}, {"texts", stratum.texts}, {"samples", stratum.samples}});
  }
  return {{"files", FilesJson(report.files)},
          {"dropped", report.dropped},
          {"masked", {{"places", report.masked}, {"texts", report.masked_texts}}},
          {"candidates", report.candidates},
          {"strata", std::move(strata)},
          {"samples", report.samples},
          {"tokens", report.tokens},
          {"notes", report.notes}};
}

BuildReport BuildCalibration(const BuildRequest& request) {
  BuildReport report;
  report.provenance = ProvenancePath(request.file);
  {
    const Stopwatch watch(report.seconds);
    Build(request, report);
  }
  if (report.samples < request.samples) {
    report.notes.push_back("only " + std::to_string(report.samples) +
                           " texts were left to choose from; --min-tokens, --similarity and the "
                           "other filters say how many");
  }
  return report;
}

}  // namespace ptq
