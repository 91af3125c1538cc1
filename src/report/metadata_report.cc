// Makes a table of the linears, and below it the totals, of one model or of several.
#include "ptq/report/metadata_report.h"

#include <sstream>

#include <nlohmann/json.hpp>

#include "ptq/base/error.h"
#include "ptq/base/format.h"
#include "ptq/base/json.h"
#include "ptq/plan/plan.h"
#include "ptq/report/table.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

/// "int8 g128": the codes of an entry `quantized`.
std::string CodesOf(const Json& quantized) {
  QuantSpec spec;
  spec.bits = quantized.at("bits").get<int>();
  spec.group_size = quantized.at("group_size").get<int64_t>();
  spec.symmetric = quantized.at("symmetric").get<bool>();
  spec.codebook = FindLevels(quantized.value("form", ""));
  return CodesName(spec);
}

std::vector<std::string> RowOf(const Json& linear) {
  const std::string shape = DumpJson(linear.at("n")) + " x " + DumpJson(linear.at("k"));
  std::vector<std::string> row = {linear.at("name").get<std::string>(), shape};
  const Json& quantized = linear.at("quantized");
  if (quantized.is_null()) {
    row.insert(row.end(), {linear.at("decision").get<std::string>(), "", "", "", "", ""});
  } else {
    const double after =
        quantized.at("loss_after").is_null() ? 0.0 : quantized.at("loss_after").get<double>();
    const double before =
        quantized.at("loss_before").is_null() ? 0.0 : quantized.at("loss_before").get<double>();
    const Json& relative = quantized.at("relative_loss");
    const double ratio = relative.is_null() ? 0.0 : relative.get<double>();
    const auto scaling = quantized.at("scaling").get<std::string>();
    const bool scaled = scaling != "none";
    row.push_back(CodesOf(quantized));
    row.push_back(scaled ? scaling : "-");
    row.push_back(scaled ? FormatNumber(quantized.at("alpha").get<double>(), 2) : "-");
    row.push_back(scaled ? quantized.at("fold").get<std::string>() : "-");
    row.push_back(after > 0 ? FormatPercent(ratio * before / after) : FormatPercent(0));
    row.push_back(FormatPercent(ratio));
  }
  row.push_back(FormatBytes(CountIn(linear, "bytes_after")));
  row.push_back(linear.at("reason").get<std::string>());
  return row;
}

/// Tables and quantized filters, one a row, and everything else in one; metadata before 1.3 has
/// neither.
void AddOtherRows(const Json& metadata, TextTable& text) {
  const auto add = [&](const std::string& name, const std::string& shape,
                       const std::string& decision, int64_t bytes, const std::string& reason) {
    text.AddRow({name, shape, decision, "", "", "", "", "", FormatBytes(bytes), reason});
  };
  const auto add_own = [&](const Json& subject) {
    const std::string becomes = subject.contains("quantized")
                                    ? CodesOf(subject.at("quantized"))
                                    : subject.at("decision").get<std::string>();
    add(subject.at("name").get<std::string>(),
        DumpJson(subject.at("n")) + " x " + DumpJson(subject.at("k")), becomes,
        CountIn(subject, "bytes_after"), subject.at("reason").get<std::string>());
  };
  for (const Json& table : metadata.value("tables", Json::array())) add_own(table);
  int64_t bytes = 0;
  int64_t others = 0;
  std::string decision = "keep";
  for (const Json& constant : metadata.value("constants", Json::array())) {
    if (constant.contains("quantized")) {
      add_own(constant);
      continue;
    }
    ++others;
    bytes += CountIn(constant, "bytes_after");
    if (constant.at("decision") == "fp16") decision = "fp16";
  }
  if (others > 0) add(std::to_string(others) + " other constants", "-", decision, bytes, "");
}

/// Why the sizes are larger than the codes; empty when they are not.
std::string StorageText(const Json& linears) {
  for (const Json& linear : linears) {
    const Json& quantized = linear.at("quantized");
    if (quantized.is_null()) continue;
    const auto bits = quantized.at("bits").get<int>();
    const int stored = quantized.value("stored_bits", bits);  // schema 1.0 had no such field
    if (stored == bits) continue;
    return ", codes of " + std::to_string(bits) + " bits stored in " + std::to_string(stored);
  }
  return "";
}

/// What a bundle holds, and below that what was done to each of its models.
std::string BundleMetadataText(const Json& bundle) {
  std::string text = "bundle   " + bundle.at("form").get<std::string>();
  if (bundle.contains("input")) {
    text += ", input '" + bundle.at("input").get<std::string>() + "', switched " +
            bundle.at("switch").get<std::string>();
  }
  text += "; " + FormatBytes(CountIn(bundle, "shared_bytes")) + " shared, default " +
          bundle.at("default").get<std::string>() + '\n';
  int index = 0;
  for (const Json& variant : bundle.at("variants")) {
    text += '\n' + std::to_string(index++) + ": " + variant.at("name").get<std::string>() + ", " +
            FormatBytes(CountIn(variant, "own_bytes")) + " of its own\n";
    const Json& own = variant.at("metadata");
    text += own.is_null() ? "no result of this program\n" : '\n' + MetadataText(own);
  }
  return text;
}

}  // namespace

std::string MetadataText(const Json& metadata) {
  if (metadata.contains("bundle")) {
    try {
      return BundleMetadataText(metadata["bundle"]);
    } catch (const nlohmann::json::exception& error) {
      throw InputError(std::string("not the metadata of a bundle: ") + JsonReason(error));
    }
  }
  if (metadata.contains("models")) {
    std::string text;
    for (const Json& model : metadata["models"]) {
      Json own = model;
      own["recipe"] = metadata.value("recipe", Json());
      text += (text.empty() ? "" : "\n") + model.value("file", "") + "\n\n";
      text += own.contains("linears") ? MetadataText(own) : "copied as it is\n";
    }
    return text;
  }
  using Align = TextTable::Align;
  try {
    TextTable table({{"linear"},
                     {"N x K", Align::kRight},
                     {"becomes"},
                     {"scaling"},
                     {"alpha", Align::kRight},
                     {"fold"},
                     {"error rtn", Align::kRight},
                     {"error", Align::kRight},
                     {"size", Align::kRight},
                     {"reason"}});
    for (const Json& linear : metadata.at("linears")) table.AddRow(RowOf(linear));
    AddOtherRows(metadata, table);
    const Json& totals = metadata.at("totals");
    std::ostringstream text;
    text << table.Text() << "\nerror: of the linear's output energy, on the calibration data\n"
         << "source   " << metadata.at("source").at("file").get<std::string>() << ", method "
         << metadata.at("recipe").at("method").get<std::string>() << '\n'
         << "linears  " << totals.at("linears_quantized") << " quantized, "
         << totals.at("linears_fp16") << " stored as fp16, " << totals.at("linears_kept")
         << " kept\n"
         << "size     " << FormatBytes(CountIn(totals, "bytes_before")) << " -> "
         << FormatBytes(CountIn(totals, "bytes_after")) << " of linear weights"
         << StorageText(metadata.at("linears")) << '\n';
    const Json caches = metadata.value("caches", Json::array());
    if (!caches.empty()) {
      text << "caches   " << caches.size() << ' ' << caches.front().at("form").get<std::string>()
           << '\n';
    }
    return text.str();
  } catch (const nlohmann::json::exception& error) {
    throw InputError(std::string("not the metadata of a quantized model: ") + JsonReason(error));
  }
}

}  // namespace ptq
