// Makes a table of the linears, and below it the totals, of one model or of several.
#include "ptq/report/metadata_report.h"

#include <sstream>

#include <nlohmann/json.hpp>

#include "ptq/base/error.h"
#include "ptq/base/memory.h"
#include "ptq/report/table.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

std::vector<std::string> RowOf(const Json& linear) {
  const std::string shape = linear.at("n").dump() + " x " + linear.at("k").dump();
  std::vector<std::string> row = {linear.at("name").get<std::string>(), shape};
  const Json& quantized = linear.at("quantized");
  if (quantized.is_null()) {
    row.insert(row.end(), {linear.at("decision").get<std::string>(), "", "", "", "", ""});
  } else {
    const auto group = quantized.at("group_size").get<int64_t>();
    const double after =
        quantized.at("loss_after").is_null() ? 0.0 : quantized.at("loss_after").get<double>();
    const double before =
        quantized.at("loss_before").is_null() ? 0.0 : quantized.at("loss_before").get<double>();
    const Json& relative = quantized.at("relative_loss");
    const double ratio = relative.is_null() ? 0.0 : relative.get<double>();
    const auto scaling = quantized.at("scaling").get<std::string>();
    const bool scaled = scaling != "none";
    row.push_back("int" + quantized.at("bits").dump() +
                  (group == 0 ? " channel" : " g" + std::to_string(group)) +
                  (quantized.at("symmetric").get<bool>() ? "" : " asym"));
    row.push_back(scaled ? scaling : "-");
    row.push_back(scaled ? FormatNumber(quantized.at("alpha").get<double>(), 2) : "-");
    row.push_back(scaled ? quantized.at("fold").get<std::string>() : "-");
    row.push_back(after > 0 ? FormatPercent(ratio * before / after) : FormatPercent(0));
    row.push_back(FormatPercent(ratio));
  }
  row.push_back(FormatBytes(linear.at("bytes_after").get<int64_t>()));
  row.push_back(linear.at("reason").get<std::string>());
  return row;
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

}  // namespace

std::string MetadataText(const Json& metadata) {
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
  using Align = Table::Align;
  try {
    Table table({{"linear"},
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
    const Json& totals = metadata.at("totals");
    std::ostringstream text;
    text << table.Text() << "\nerror: of the linear's output energy, on the calibration data\n"
         << "source   " << metadata.at("source").at("file").get<std::string>() << ", method "
         << metadata.at("recipe").at("method").get<std::string>() << '\n'
         << "linears  " << totals.at("linears_quantized") << " quantized, "
         << totals.at("linears_fp16") << " stored as fp16, " << totals.at("linears_kept")
         << " kept\n"
         << "size     " << FormatBytes(totals.at("bytes_before").get<int64_t>()) << " -> "
         << FormatBytes(totals.at("bytes_after").get<int64_t>()) << " of linear weights"
         << StorageText(metadata.at("linears")) << '\n';
    return text.str();
  } catch (const nlohmann::json::exception& error) {
    throw InputError(std::string("not the metadata of a quantized model: ") + error.what());
  }
}

}  // namespace ptq
