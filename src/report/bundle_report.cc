// Says what a bundle holds, what its models share, and how a service chooses.
#include "ptq/report/bundle_report.h"

#include <cstdio>

#include <nlohmann/json.hpp>

#include "ptq/base/format.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

int64_t TotalBytes(const BundleFigures& figures) {
  return figures.model_bytes + figures.data_bytes;
}

std::string VerificationText(const BundleVerification& verification) {
  if (!verification.done) return "not done: " + verification.note;
  if (verification.max_relative == 0) return "both models' outputs, to the last bit";
  char number[32];
  std::snprintf(number, sizeof number, "%.1e", verification.max_relative);
  return std::string("both models' outputs, to ") + number + " of the largest value";
}

std::string ChoiceText(const BundleReport& report) {
  const SwitchOptions& choice = report.options.choice;
  const std::string& chosen = choice.names[size_t(choice.default_model)];
  switch (report.options.form) {
    case BundleForm::kGraph:
      return "input '" + choice.input + "' (int64, scalar): 0 = " + choice.names[0] +
             ", 1 = " + choice.names[1] + "; without it " + chosen;
    case BundleForm::kFiles:
      return "model_" + choice.names[0] + ".onnx or model_" + choice.names[1] + ".onnx";
    case BundleForm::kPackage:
      return "component '" + choice.names[0] + "' or '" + choice.names[1] + "' of the package";
  }
  return "";
}

std::string Line(const std::string& title, const std::string& text) {
  return title + std::string(14 - title.size(), ' ') + text + '\n';
}

}  // namespace

std::string BundleText(const BundleReport& report, bool dry_run) {
  const BundleFigures& figures = report.figures;
  const auto& names = report.options.choice.names;
  std::string text = Line(dry_run ? "would write" : "written", report.destination.string());
  for (size_t i = 0; i < 2; ++i) {
    text += Line(i == 0 ? "models" : "", names[i] + ": " + FormatBytes(report.source_bytes[i]) +
                                             ", of which " + FormatBytes(figures.own_bytes[i]) +
                                             " are its own");
  }
  text += Line("size", FormatBytes(TotalBytes(figures)) + ", of which " +
                           FormatBytes(figures.shared_bytes) + " are shared");
  if (report.options.form == BundleForm::kGraph) {
    text += Line("switched", std::to_string(figures.regions) +
                                 (figures.regions == 1 ? " region; " : " regions; ") +
                                 std::to_string(figures.common_nodes) + " nodes are common");
  }
  text += Line("choose by", ChoiceText(report));
  if (!dry_run) text += Line("verified", VerificationText(report.verification));
  return text;
}

Json BundleJson(const BundleReport& report, bool dry_run) {
  const BundleFigures& figures = report.figures;
  const BundleOptions& options = report.options;
  const bool graph = options.form == BundleForm::kGraph;
  Json variants = Json::array();
  for (size_t i = 0; i < 2; ++i) {
    variants.push_back({{"name", options.choice.names[i]},
                        {"source", ToJson(report.sources[i])},
                        {"source_bytes", report.source_bytes[i]},
                        {"own_bytes", figures.own_bytes[i]}});
  }
  Json files = Json::array();
  for (const WrittenFile& file : report.files) {
    files.push_back({{"file", file.name.generic_string()}, {"bytes", file.bytes}});
  }
  static constexpr const char* kForms[] = {"graph", "files", "package"};
  return {{"dry_run", dry_run},
          {"destination", report.destination.string()},
          {"form", kForms[size_t(options.form)]},
          {"switch", graph ? Json(options.switch_form == SwitchForm::kLinear ? "linear" : "whole")
                           : Json(nullptr)},
          {"input", graph ? Json(options.choice.input) : Json(nullptr)},
          {"default", options.choice.names[size_t(options.choice.default_model)]},
          {"variants", std::move(variants)},
          {"bytes", TotalBytes(figures)},
          {"shared_bytes", figures.shared_bytes},
          {"regions", graph ? Json(figures.regions) : Json(nullptr)},
          {"common_nodes", graph ? Json(figures.common_nodes) : Json(nullptr)},
          {"verification",
           {{"done", report.verification.done},
            {"note", report.verification.note},
            {"max_relative_error",
             report.verification.done ? Json(report.verification.max_relative) : Json(nullptr)}}},
          {"files", std::move(files)}};
}

}  // namespace ptq
