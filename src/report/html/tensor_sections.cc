// The sections about tensors: what became of each, where the bytes are, what the sites are like.
#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "charts.h"
#include "sections.h"

#include "ptq/base/format.h"
#include "ptq/report/table.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

double NumberOr(const Json& json, const char* key, double other) {
  return json.contains(key) && json[key].is_number() ? json[key].get<double>() : other;
}

/// The first `most` by a figure, the largest first, in their old order; all when they are fewer.
std::vector<size_t> Worst(const Json& rows, size_t most, const char* key) {
  std::vector<size_t> order(rows.size());
  std::iota(order.begin(), order.end(), size_t{0});
  if (rows.size() <= most) return order;
  std::ranges::stable_sort(order, [&](size_t a, size_t b) {
    return NumberOr(rows[a], key, -1) > NumberOr(rows[b], key, -1);
  });
  order.resize(most);
  std::ranges::sort(order);
  return order;
}

std::string FormOfTensor(const Json& tensor) {
  const Json form = tensor.value("form", Json());
  return form.is_string() ? form.get<std::string>() : CellText(tensor.at("decision"));
}

Json TensorRow(const Json& tensor) {
  Json name = tensor["name"];
  if (tensor.value("model", Json()).is_string()) {
    name = tensor["model"].get<std::string>() + ": " + name.get<std::string>();
  }
  const double loss = NumberOr(tensor, "relative_loss", 0);
  const double nearest = NumberOr(tensor, "relative_loss_rtn", 0);
  const Json gain =
      nearest > 0 && tensor["relative_loss"].is_number() ? Json(1 - loss / nearest) : Json(nullptr);
  const std::string scaling = CellText(tensor.value("scaling", Json()));
  return {name,
          FormOfTensor(tensor),
          PlainCell(tensor["bits"]),
          PlainCell(tensor["group_size"]),
          PercentCell(tensor["relative_loss"]),
          PercentCell(tensor["relative_loss_rtn"]),
          PercentCell(gain),
          scaling,
          PlainCell(tensor["alpha"]),
          BytesCell(tensor["bytes_before"]),
          BytesCell(tensor["bytes_after"]),
          Json{{"text", CellText(tensor["n"]) + " × " + CellText(tensor["k"])},
               {"sort", tensor["n"].get<double>() * tensor["k"].get<double>()}},
          CellText(tensor["kind"]),
          CellText(tensor["reason"])};
}

/// A line for each scaling that was tried at a site, and the point that was chosen.
Json AlphaCurve(const Json& site) {
  std::vector<ChartSeries> series;
  std::optional<ChartPoint> chosen;
  const std::string kept = CellText(site.value("scaling", Json()));
  const double alpha = NumberOr(site, "alpha", 0);
  for (const Json& tried : site["trials"]) {
    const std::string scaling = CellText(tried.at("scaling"));
    ChartSeries line = {scaling, series.size() < 2 ? "main" : "third", {}};  // none is a point
    for (size_t i = 0; i < tried.at("alpha").size(); ++i) {
      const Json& loss = tried.at("relative_loss").at(i);
      if (!loss.is_number()) continue;
      line.points.push_back({tried["alpha"][i].get<double>(), loss.get<double>(), ""});
      if (scaling == kept && std::abs(line.points.back().x - alpha) < 1e-9) {
        chosen = line.points.back();
      }
    }
    series.push_back(std::move(line));
  }
  if (series.size() < 2) return nullptr;
  return Curve(series, chosen, "loss over alpha, " + kept + " was kept");
}

std::string TopChannels(const Json& site) {
  std::string text;
  for (const Json& top : site.value("top_channels", Json::array())) {
    if (text.size() > 12) break;
    text += (text.empty() ? "" : ", ") + CellText(top.at("channel"));
  }
  return text;
}

/// The linears of a site without what their names have in common.
std::string LinearsOf(const Json& site) {
  const Json& linears = site.at("linears");
  std::string text = linears.empty() ? CellText(site.at("site")) : CellText(linears.front());
  for (size_t i = 1; i < linears.size() && i < 4; ++i) {
    const std::string name = CellText(linears[i]);
    text += ", " + name.substr(name.find_last_of("./") + 1);
  }
  if (linears.size() > 4) text += " and " + std::to_string(linears.size() - 4) + " more";
  const Json model = site.value("model", Json());
  return model.is_string() ? model.get<std::string>() + ": " + text : text;
}

Json WithPicture(Json picture, const Json& sort = nullptr) {
  if (picture.is_null()) return "–";
  return {{"text", ""}, {"sort", sort}, {"picture", std::move(picture)}};
}

}  // namespace

Json TensorsSection(const Json& document) {
  if (!document.contains("tensors")) return nullptr;
  const Json& tensors = document["tensors"];
  Json table =
      TableBlock("tensors-table", "What became of every tensor",
                 {{"Name"},
                  {"Form", false, true, "The operators that hold the codes, or what was kept"},
                  {"Bits", true, true},
                  {"Group", true, false, "Weights that share a scale; 0: a whole row"},
                  {"Error", true, false, "Part of the output's energy that is lost"},
                  {"Nearest", true, false, "The same by rounding to nearest"},
                  {"Gain", true, false, "How much less is lost than by rounding to nearest"},
                  {"Scaling", false, true},
                  {"Alpha", true, false, "Exponent of the scaling"},
                  {"Before", true},
                  {"After", true, false, "0: it shares the bytes of an equal tensor"},
                  {"N × K", true, false, "Outputs and inputs"},
                  {"Kind", false, true, "The part of a layer"},
                  {"Reason"}});
  const std::vector<size_t> listed = Worst(tensors, kMostRows, "relative_loss");
  for (const size_t i : listed) table["rows"].push_back(TensorRow(tensors[i]));
  std::string text = "Every linear and table in the order of the graph.";
  if (listed.size() < tensors.size()) {
    text =
        "The " + std::to_string(listed.size()) + " of " + std::to_string(tensors.size()) +
        " tensors that lose most, in the order of the graph; quantization_metadata.json has all.";
  }
  return SectionJson("tensors", "Tensors", text, Json::array({std::move(table)}));
}

Json SizesSection(const Json& document) {
  if (!document.contains("sizes") || document["sizes"].empty()) return nullptr;
  const Json& sizes = document["sizes"];
  double most = 1, total = 0;
  for (const Json& size : sizes) {
    most = std::max({most, NumberOr(size, "before", 0), NumberOr(size, "after", 0)});
    total += NumberOr(size, "after", 0);
  }
  Json table = TableBlock("sizes-table", "Bytes of each kind of tensor, before and after",
                          {{"Kind"},
                           {"Tensors", true},
                           {"Before", true},
                           {"After", true},
                           {"Share of the result", true}});
  for (const Json& size : sizes) {
    const double after = NumberOr(size, "after", 0);
    table["rows"].push_back({CellText(size["kind"]), PlainCell(size["count"]),
                             WithBar(BytesCell(size["before"]), NumberOr(size, "before", 0) / most),
                             WithBar(BytesCell(size["after"]), after / most),
                             PercentCell(total > 0 ? Json(after / total) : Json(nullptr))});
  }
  return SectionJson("sizes", "Size by kind of tensor", "", Json::array({std::move(table)}));
}

Json SitesSection(const Json& document) {
  const Json salience = document.value("salience", Json::array());
  const Json alpha = document.value("alpha", Json::array());
  if (salience.empty() && alpha.empty()) return nullptr;
  std::map<std::pair<std::string, std::string>, std::pair<Json, Json>> sites;
  std::vector<std::pair<std::string, std::string>> order;
  const auto at = [&](const Json& site) -> std::pair<Json, Json>& {
    const std::pair key(CellText(site.value("model", Json())), CellText(site.at("site")));
    if (!sites.contains(key)) order.push_back(key);
    return sites[key];
  };
  for (const Json& site : salience) at(site).first = site;
  for (const Json& site : alpha) at(site).second = site;
  Json table = TableBlock(
      "sites-table", "Activations that linears read, and the scaling that was found for them",
      {{"Linears"},
       {"Channels", true},
       {"Peak", true, false, "The most salient channel as a multiple of the median"},
       {"Salience", true, false,
        "Mean |x|, channels from first to last; of neighbours the largest"},
       {"Top channels"},
       {"Scaling", false, true},
       {"Alpha", true},
       {"Loss over alpha", false, false, "On a sample of rows, 0 at the left, 1 at the right"}});
  for (const auto& key : order) {
    if (table["rows"].size() >= kMostPictures) break;
    const auto& [seen, tried] = sites[key];
    const Json& any = seen.is_null() ? tried : seen;
    std::vector<double> bins;
    if (!seen.is_null()) seen.at("mean_abs").get_to(bins);
    const Json ratio = seen.is_null() ? Json() : seen.value("largest_over_median", Json());
    table["rows"].push_back(
        {LinearsOf(any), seen.is_null() ? Json("–") : PlainCell(seen["channels"]),
         NumberCell(ratio, [](double x) { return FormatNumber(x, 3) + "×"; }),
         bins.empty()
             ? Json("–")
             : WithPicture(Profile(bins, "mean |x| of " + LinearsOf(any) + " by channel"), ratio),
         seen.is_null() ? "–" : TopChannels(seen),
         CellText(tried.is_null() ? Json() : tried.value("scaling", Json())),
         PlainCell(tried.is_null() ? Json() : tried.value("alpha", Json())),
         tried.is_null() ? Json("–") : WithPicture(AlphaCurve(tried))});
  }
  std::string text =
      "Linears that read the same activation share statistics and a scale. A few channels that are "
      "much larger than the others are what scaling is for.";
  if (order.size() > kMostPictures) {
    text += " The first " + std::to_string(kMostPictures) + " of " + std::to_string(order.size()) +
            " sites.";
  }
  return SectionJson("sites", "Salience and alpha", text, Json::array({std::move(table)}));
}

}  // namespace ptq
