// Finds which models of a directory make inputs of which others, by names alone.
#include <algorithm>
#include <utility>

#include "companion_names.h"

#include "ptq/calibrate/companions.h"

namespace ptq {

bool Companions::HasInput(size_t model, const std::string& name) {
  const Graph& graph = source(model).graph;
  const ValueId id = graph.Find(name);
  return id != kNoValue && graph.value(id).graph_input;
}

bool Companions::HasOutput(size_t model, const std::string& name) {
  const Graph& graph = source(model).graph;
  const ValueId id = graph.Find(name);
  return id != kNoValue && graph.value(id).graph_output;
}

/// Whether a chain of equal names leads from an output of `maker` to an input of `model`.
bool Companions::NeedsByName(size_t model, size_t maker, std::set<size_t>& seen) {
  if (!seen.insert(model).second) return false;
  for (const ValueId id : source(model).graph.graph_inputs()) {
    const std::string& name = source(model).graph.value(id).name;
    for (size_t other = 0; other < size(); ++other) {
      if (other == model || !HasOutput(other, name) || HasInput(other, name)) continue;
      if (other == maker || NeedsByName(other, maker, seen)) return true;
    }
  }
  return false;
}

/// The text's encoder when there are several: that of an image has another name.
int Companions::FindEncoder(size_t model) {
  const bool reads = std::ranges::any_of(source(model).graph.graph_inputs(), [&](ValueId id) {
    const std::string& name = source(model).graph.value(id).name;
    return name == kEncoderStates || name == kEncoderMask ||
           (IsPast(name) && Has(name, ".encoder."));
  });
  int found = -1;
  for (size_t other = 0; reads && other < size(); ++other) {
    const std::string name = files_[other].stem().string();
    if (other == model || Has(name, "decoder") || !Has(name, "encoder")) continue;
    if (found < 0 || name.starts_with("encoder")) found = int(other);
  }
  return found;
}

/// The decoder that leaves a past and can start without one.
int Companions::FindPast(size_t model) {
  const auto is_past = [&](size_t of) {
    return [this, of](ValueId id) { return IsPast(source(of).graph.value(id).name); };
  };
  const bool reads = std::ranges::any_of(source(model).graph.graph_inputs(), is_past(model));
  if (!reads || HasInput(model, "use_cache_branch")) return -1;
  for (size_t other = size(); other-- > 0;) {
    const Graph& graph = source(other).graph;
    if (other == model || !Has(files_[other].stem().string(), "decoder")) continue;
    const bool starts = std::ranges::none_of(graph.graph_inputs(), is_past(other));
    const bool leaves = std::ranges::any_of(graph.graph_outputs(), [&](ValueId id) {
      return graph.value(id).name.starts_with("present");
    });
    if (starts && leaves) return int(other);
  }
  return -1;
}

/// Another model that gives out what an input is called, without waiting for this one.
std::optional<Companions::Link> Companions::FindLink(size_t model, const std::string& input) {
  std::vector<std::string> outputs = {input};
  if (IsPast(input)) outputs = {"present" + input.substr(std::string_view("past").size())};
  for (size_t other = 0; other < size(); ++other) {
    // What decoders leave is one token older: FindPast.
    if (other == model || (IsPast(input) && Has(files_[other].stem().string(), "decoder"))) {
      continue;
    }
    for (const std::string& output : outputs) {
      std::set<size_t> seen;
      if (HasOutput(other, output) && !HasInput(other, input) && !NeedsByName(other, model, seen)) {
        return Link{other, output, input};
      }
    }
  }
  return std::nullopt;
}

Companions::Makers Companions::FindMakers(size_t model) {
  Makers makers;
  if (size() == 1) return makers;
  const Graph& graph = source(model).graph;
  makers.encoder = FindEncoder(model);
  makers.past = FindPast(model);
  for (const ValueId id : graph.graph_inputs()) {
    const std::string& name = graph.value(id).name;
    // Integers are tokens, masks and positions, which are made from the ids themselves.
    if (!IsFloat(graph.DeclaredType(id).dtype)) continue;
    if (name == kEncoderStates && makers.encoder >= 0) {
      const auto encoder = size_t(makers.encoder);
      const Graph& states = source(encoder).graph;
      std::string output = states.value(states.graph_outputs().front()).name;
      if (HasOutput(encoder, "last_hidden_state")) output = "last_hidden_state";
      if (HasOutput(encoder, name)) output = name;
      makers.links.push_back({encoder, output, name});
    } else if (auto link = FindLink(model, name)) {
      makers.links.push_back(std::move(*link));
    }
  }
  return makers;
}

const Companions::Makers& Companions::MakersFor(size_t model) {
  if (!makers_[model].has_value()) makers_[model] = FindMakers(model);
  return *makers_[model];
}

std::vector<size_t> Companions::ModelsBehind(const Makers& makers) const {
  std::vector<size_t> models;
  const auto add = [&](size_t maker) {
    if (std::ranges::find(models, maker) == models.end()) models.push_back(maker);
  };
  if (makers.encoder >= 0) add(size_t(makers.encoder));
  for (const Link& link : makers.links) add(link.maker);
  if (makers.past >= 0) add(size_t(makers.past));
  return models;
}

std::vector<std::string> Companions::MakersOf(size_t model) {
  std::vector<std::string> names;
  for (const size_t maker : ModelsBehind(MakersFor(model))) {
    names.push_back(files_[maker].filename().string());
  }
  return names;
}

bool Companions::IsFed(size_t model, std::set<size_t>& seen) {
  if (!seen.insert(model).second) return false;
  if (feeds_->Feed(source(model).graph)) return true;
  const std::vector<size_t> makers = ModelsBehind(MakersFor(model));
  return std::ranges::any_of(makers, [&](size_t maker) { return IsFed(maker, seen); });
}

const FeedSamples* Companions::FeedsOf(size_t model) {
  std::set<size_t> seen;
  return feeds_.has_value() && IsFed(model, seen) ? &*feeds_ : nullptr;
}

}  // namespace ptq
