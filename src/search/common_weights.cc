// Tells equal weights by a hash, and stores what was found for them for the other models.
#include "ptq/search/common_weights.h"

#include <algorithm>
#include <utility>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/hash.h"
#include "ptq/search/segment_record.h"

namespace ptq {
namespace {

using Json = nlohmann::json;

/// What decides the codes of a weight that is rounded to nearest; empty when it is not quantized.
std::string KeyOf(const Source& source, const Linear& linear) {
  if (!linear.decision.quantizes() || linear.stored == kNoValue) return "";
  if (linear.table >= 0) return "";  // nothing but the weight decides them
  const Tensor values = source.executor.LoadConstant(linear.operand);
  const QuantSpec& spec = linear.spec();
  std::string key = std::to_string(FastHash(values.bytes())) + ToString(values.shape());
  const std::string sha256 = Sha256Hex(values.bytes());  // FastHash may be that of another weight
  source.model.weights().Drop(*source.graph.value(linear.stored).constant);
  for (const int64_t number : {linear.n, linear.k, linear.experts, int64_t(linear.operand_is_nk),
                               int64_t(linear.operand_type), int64_t(spec.bits), spec.group_size,
                               int64_t(spec.symmetric)}) {
    key += "," + std::to_string(number);
  }
  if (!spec.uniform()) key += "," + std::string(spec.codebook->name());
  if (const auto& own = linear.decision.method; own.has_value()) {
    key += "," + own->scaling + "," + own->grid + "," + own->rounding + "," +
           std::to_string(own->refine);
  }
  return key + "," + sha256;
}

std::string SiteKey(const Plan& plan, const Site& site, const std::vector<std::string>& keys) {
  std::vector<std::string> parts;
  for (const int linear : site.linears) {
    if (plan.linears[size_t(linear)].reused) return "";
    parts.push_back(keys[size_t(linear)]);
  }
  std::ranges::sort(parts);
  std::string key = std::to_string(int(site.fold.kind));
  if (site.fold.kind == Fold::Kind::kLinearRows) key += keys[size_t(site.fold.linear)];
  for (const std::string& part : parts) key += "|" + part;
  return key;
}

}  // namespace

void CommonWeights::Add(const Source& source, const Plan& plan) {
  const size_t model = keys_.size();
  std::vector<std::string> keys;
  keys.reserve(plan.linears.size());
  for (const Linear& linear : plan.linears) keys.push_back(KeyOf(source, linear));
  for (const Site& site : plan.sites) {
    const std::string site_key = site.scaling_allowed ? SiteKey(plan, site, keys) : "";
    for (const int linear : site.linears) {
      if (keys[size_t(linear)].empty()) continue;
      occurrences_[keys[size_t(linear)]].push_back({model, linear, site_key});
    }
  }
  keys_.push_back(std::move(keys));
}

bool CommonWeights::IsCommon(const std::string& key) const {
  const auto found = occurrences_.find(key);
  if (key.empty() || found == occurrences_.end()) return false;
  return found->second.front().model != found->second.back().model;
}

bool CommonWeights::ScalesAlike(const std::string& key) const {
  const auto& all = occurrences_.at(key);
  std::set<size_t> models;
  for (const Occurrence& one : all) {
    if (one.site.empty() || one.site != all.front().site || !models.insert(one.model).second) {
      return false;
    }
  }
  return true;
}

void CommonWeights::Restrict(size_t model, Plan& plan) const {
  for (Site& site : plan.sites) {
    bool any = false;
    bool alike = true;
    for (const int linear : site.linears) {
      const std::string& key = keys_[model][size_t(linear)];
      if (!IsCommon(key)) continue;
      any = true;
      alike = alike && ScalesAlike(key);
    }
    if (site.fold.kind == Fold::Kind::kLinearRows) {
      // The scale goes into the rows of a weight that the other models have, too.
      const bool rows = IsCommon(keys_[model][size_t(site.fold.linear)]);
      if (rows && !any) alike = false;
      any = any || rows;
    }
    if (!any || alike || !site.scaling_allowed) continue;
    site.scaling_allowed = false;
    site.scaling_note = "its weights are used otherwise in another model of the directory";
  }
}

CommonWeights::Parts CommonWeights::Divide(size_t model, const std::vector<int>& linears) const {
  Parts parts;
  std::vector<int> together;
  for (const int linear : linears) {
    const std::string& key = keys_[model][size_t(linear)];
    if (!IsCommon(key)) {
      parts.own.push_back(linear);
    } else if (ScalesAlike(key)) {
      together.push_back(linear);
    } else {
      parts.common.push_back({linear});
    }
  }
  // Siblings may stand in another order elsewhere.
  std::ranges::sort(together, {}, [&](int linear) { return keys_[model][size_t(linear)]; });
  if (!together.empty()) parts.common.push_back(std::move(together));
  return parts;
}

std::filesystem::path CommonWeights::FileOf(size_t owner, size_t model,
                                            const std::vector<int>& linears) const {
  std::string all;
  for (const int linear : linears) all += keys_[model][size_t(linear)] + "|";
  return directory_ / (Sha256Hex(all) + "." + std::to_string(owner) + ".cbor");
}

std::optional<std::filesystem::path> CommonWeights::FileOfOthers(
    size_t model, const std::vector<int>& linears) const {
  for (size_t owner = 0; owner < keys_.size(); ++owner) {
    if (owner == model) continue;
    auto file = FileOf(owner, model, linears);
    if (std::filesystem::exists(file)) return file;
  }
  return std::nullopt;
}

bool CommonWeights::Has(size_t model, const Plan& plan, const Site& site) const {
  std::vector<int> own;
  for (const int linear : site.linears) {
    if (plan.linears[size_t(linear)].reused) return false;
    own.push_back(linear);
  }
  const Parts parts = Divide(model, own);
  return parts.own.empty() && std::ranges::all_of(parts.common, [&](const auto& linears) {
           return FileOfOthers(model, linears).has_value();
         });
}

std::optional<CommonWeights::Record> CommonWeights::Find(size_t model, const Plan& plan,
                                                         const std::vector<int>& linears) const {
  const auto file = FileOfOthers(model, linears);
  if (!file.has_value()) return std::nullopt;
  const Json stored = Json::from_cbor(ReadTextFile(*file));
  Record record;
  stored.at("site").get_to(record.site);
  stored.at("scale").get_to(record.scale);
  stored.at("outcomes").get_to(record.outcomes);
  for (const Json& entry : stored.at("matrices")) {
    QuantizedMatrix q;
    q.spec = plan.linears[size_t(linears[record.matrices.size()])].spec();
    q.n = entry.at("n").get<int64_t>();
    q.k = entry.at("k").get<int64_t>();
    q.codes = entry.at("codes").get_binary();
    q.zero_points = entry.at("zero_points").get_binary();
    entry.at("scales").get_to(q.scales);
    record.matrices.push_back(std::make_shared<const QuantizedMatrix>(std::move(q)));
  }
  return record;
}

void CommonWeights::Keep(size_t model, const std::vector<int>& linears,
                         const Record& record) const {
  Json stored = {{"site", record.site},
                 {"scale", record.scale},
                 {"outcomes", record.outcomes},
                 {"matrices", Json::array()}};
  for (const auto& q : record.matrices) {
    stored["matrices"].push_back({{"n", q->n},
                                  {"k", q->k},
                                  {"codes", Json::binary(q->codes)},
                                  {"zero_points", Json::binary(q->zero_points)},
                                  {"scales", q->scales}});
  }
  const std::vector<uint8_t> bytes = Json::to_cbor(stored);
  WriteFileAtomically(FileOf(model, model, linears),
                      {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

}  // namespace ptq
