// Writes each model's linears, calibration and verification, and the size of all together.
#include "ptq/report/directory_report.h"

#include <algorithm>
#include <sstream>

#include "ptq/base/format.h"
#include "ptq/base/json.h"
#include "ptq/report/bytes_report.h"
#include "ptq/report/gate_report.h"
#include "ptq/report/next_steps.h"
#include "ptq/report/run_report.h"
#include "ptq/report/table.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

/// What a model was calibrated with, or why it was not.
std::string CalibrationOf(const Json& model) {
  std::string text;
  if (model.contains("calibration") && model["calibration"].is_object()) {
    text = DumpJson(model["calibration"]["samples"]) + " samples, " +
           DumpJson(model["calibration"]["tokens"]) + " tokens";
  }
  for (const Json& note : model.value("notes", Json::array())) {
    text += (text.empty() ? "" : "; ") + note.get<std::string>();
  }
  return text.empty() ? "none" : text;
}

std::string VerificationOf(const Json& model) {
  const auto found = model.find("verification");
  if (found == model.end() || !found->is_object()) return "not done";
  return "outputs within " + FormatNumber(found->value("max_relative_error", 0.0), 2) +
         " of the expected ones";
}

}  // namespace

std::string PlansText(const std::vector<std::pair<std::string, RunReport>>& plans) {
  std::ostringstream text;
  FileBytes bytes;
  int64_t peak = 0;
  for (const auto& [file, report] : plans) {
    text << (&file == &plans.front().first ? "" : "\n") << file << "\n\n";
    if (report.plan.linears.empty()) {
      for (const std::string& note : report.notes) text << "copied: " << note << '\n';
    } else {
      text << PlanText(report);
    }
    bytes += report.bytes;
    peak = std::max(peak, report.predicted_peak_bytes);
  }
  text << "\nall models    " << FormatBytes(bytes.Total().before) << " -> "
       << FormatBytes(bytes.Total().after) << " predicted, peak memory " << FormatBytes(peak)
       << " predicted\n";
  return text.str();
}

std::string DirectoryText(const DirectoryReport& report) {
  if (report.up_to_date) return UpToDateText(report.destination);
  std::ostringstream text;
  for (const Json& model : report.metadata.at("models")) {
    text << model.at("file").get<std::string>() << '\n';
    if (model.contains("totals")) {
      const Json& totals = model["totals"];
      text << "  linears       " << totals.at("linears_quantized") << " quantized, "
           << totals.at("linears_fp16") << " stored as fp16, " << totals.at("linears_kept")
           << " kept; " << FormatBytes(CountIn(totals, "bytes_before")) << " -> "
           << FormatBytes(CountIn(totals, "bytes_after")) << '\n';
    }
    text << "  calibration   " << CalibrationOf(model) << '\n';
    if (model.contains("totals")) text << "  verification  " << VerificationOf(model) << '\n';
  }
  FileBytes parts;
  for (const FileBytes& bytes : report.bytes) parts += bytes;
  text << "written       " << report.destination.string() << '\n'
       << "size          " << FormatBytes(report.bytes_before) << " -> "
       << FormatBytes(report.bytes_after) << " ("
       << FormatPercent(double(report.bytes_after) /
                        double(std::max<int64_t>(1, report.bytes_before)))
       << ")\n"
       << BytesText(parts) << "time          " << FormatSeconds(report.seconds) << '\n'
       << "peak memory   " << FormatBytes(report.peak_bytes) << " ("
       << FormatBytes(report.predicted_peak_bytes) << " predicted)\n"
       << (report.gate.has_value() ? GatesText(*report.gate) : "")
       << NextStepsText(report.destination);
  return text.str();
}

}  // namespace ptq
