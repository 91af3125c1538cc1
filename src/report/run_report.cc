// Makes tables and JSON of plans and outcomes, with totals, times and sizes.
#include "ptq/report/run_report.h"

#include <algorithm>
#include <sstream>

#include <nlohmann/json.hpp>

#include "ptq/base/format.h"
#include "ptq/emit/metadata.h"
#include "ptq/emit/stored_codes.h"
#include "ptq/emit/written_files.h"
#include "ptq/report/bytes_report.h"
#include "ptq/report/gate_report.h"
#include "ptq/report/next_steps.h"
#include "ptq/report/table.h"

namespace ptq {
namespace {

struct Totals {
  int64_t quantized = 0;
  int64_t half = 0;
  int64_t kept = 0;
  int64_t scaled = 0;
  int64_t unseen = 0;  ///< rounded to nearest for want of statistics
  double loss = 0;     ///< mean of the linears' relative losses
  double loss_rtn = 0;
};

Totals TotalsOf(const RunReport& report) {
  Totals totals;
  for (size_t i = 0; i < report.plan.linears.size(); ++i) {
    const Outcome& outcome = report.outcomes[i];
    switch (report.plan.linears[i].decision.form->storage()) {
      case Storage::kHalf: ++totals.half; break;
      case Storage::kAsIs: ++totals.kept; break;
      case Storage::kCodes:
        ++totals.quantized;
        if (outcome.scaling != "none") ++totals.scaled;
        if (!outcome.note.empty()) ++totals.unseen;
        if (outcome.energy > 0) {
          totals.loss += outcome.loss_after / outcome.energy;
          totals.loss_rtn += outcome.loss_before / outcome.energy;
        }
        break;
    }
  }
  if (totals.quantized > 0) {
    totals.loss /= double(totals.quantized);
    totals.loss_rtn /= double(totals.quantized);
  }
  return totals;
}

/// Whether the codes of linears have more than one form, so that each is worth naming.
bool IsMixed(const Plan& plan) {
  const Form* first = nullptr;
  return std::ranges::any_of(plan.linears, [&](const Linear& linear) {
    if (!linear.decision.quantizes()) return false;
    if (first == nullptr) first = linear.decision.form;
    return linear.decision.form != first;
  });
}

std::string FormOf(const Decision& decision, bool mixed = false) {
  if (!decision.quantizes()) return DecisionName(decision);
  const bool named = mixed && decision.spec().uniform();  // else the codes have the form's name
  return CodesName(decision.spec()) + (named ? " " + std::string(decision.form->name()) : "");
}

struct Phase {
  const char* name;
  double seconds;
};

std::vector<Phase> PhasesOf(const Timings& t) {
  return {{"read", t.read},           {"forward", t.forward},       {"statistics", t.statistics},
          {"exchange", t.exchange},   {"search", t.search},         {"pack", t.pack},
          {"propagate", t.propagate}, {"checkpoint", t.checkpoint}, {"write", t.write},
          {"verify", t.verify}};
}

/// The phases that took part, in the order of the road.
std::string PhaseText(const Timings& timings) {
  std::string text;
  for (const Phase& phase : PhasesOf(timings)) {
    if (phase.seconds == 0) continue;
    text +=
        (text.empty() ? "" : ", ") + std::string(phase.name) + " " + FormatSeconds(phase.seconds);
  }
  return text;
}

std::vector<size_t> Listed(const RunReport& report, const LinearOrder& order) {
  std::vector<LinearFacts> facts;
  for (size_t i = 0; i < report.plan.linears.size(); ++i) {
    const Linear& linear = report.plan.linears[i];
    facts.push_back({linear.name, linear.n * linear.k, report.outcomes[i].bytes_after, std::nullopt,
                     std::nullopt});
  }
  return Arranged(facts, order);
}

/// "2.6 MiB -> 1.5 MiB (58.3 %)".
std::string SizesText(BytesPart size) {
  return FormatBytes(size.before) + " -> " + FormatBytes(size.after) + " (" +
         FormatPercent(double(size.after) / double(std::max<int64_t>(1, size.before))) + ")";
}

/// Tables and filters, one a row, and everything else in one.
void AddOtherRows(const Plan& plan, TextTable& text) {
  const auto add = [&](const std::string& name, const std::string& shape, const Subject& subject,
                       BytesPart size) {
    text.AddRow({name, shape, FormOf(subject.decision), FormatBytes(size.before),
                 FormatBytes(size.after), subject.decision.reason});
  };
  const auto add_own = [&](const Subject& subject) {
    add(subject.name, std::to_string(subject.n) + " x " + std::to_string(subject.k), subject,
        {BytesOf(subject.stored_type, subject.n * subject.k), subject.decision.bytes});
  };
  for (const Table& table : plan.tables) add_own(table);
  BytesPart size;
  Constant all;
  int64_t others = 0;
  for (const Constant& constant : plan.constants) {
    if (constant.decision.quantizes()) {
      add_own(constant);
      continue;
    }
    ++others;
    size.before += BytesOf(constant.stored_type, constant.n * constant.k);
    size.after += constant.decision.bytes;
    if (constant.decision.halves()) all.decision.form = &HalfForm();
  }
  if (others == 0) return;
  add(std::to_string(others) + " other constants", "-", all, size);
}

void AddOthers(const RunReport& report, nlohmann::ordered_json& json) {
  const Plan& plan = report.plan;
  auto& tables = json["tables"] = nlohmann::ordered_json::array();
  for (size_t i = 0; i < plan.tables.size(); ++i) {
    tables.push_back(SubjectJson(plan.tables[i], report.tables[i]));
  }
  auto& constants = json["constants"] = nlohmann::ordered_json::array();
  for (size_t i = 0; i < plan.constants.size(); ++i) {
    constants.push_back(SubjectJson(plan.constants[i], report.constants[i]));
  }
}

/// The nodes of a graph in FP16 that compute in FP32, and why.
std::string IslandsText(const RunReport& report) {
  std::string text;
  int64_t nodes = 0;
  for (const auto& [reason, count] : report.islands) {
    nodes += count;
    text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + reason;
  }
  if (nodes == 0) return "";
  return "in FP32       " + std::to_string(nodes) + " nodes: " + text + '\n';
}

/// What becomes of past keys and values.
std::string CachesText(const Plan& plan) {
  if (!plan.caches.has_value()) return "";
  const CacheCodes& codes = plan.caches->codes;
  const std::vector<Cache>& caches = plan.caches->caches;
  int64_t values = 0;  // of a token
  for (const Cache& cache : caches) values += cache.heads * cache.head_size;
  return "caches        " + std::to_string(caches.size()) + " " + CodesName(codes) + ", " +
         FormatBytes(values * codes.bits / 8) + " a token\n";
}

/// What calibration may add to the predicted size.
std::string MostText(const RunReport& report) {
  const std::string most = FormatBytes(report.predicted_most.Total());
  const bool grows = report.predicted_most.Total() > report.predicted.Total();
  if (grows && most != FormatBytes(report.predicted.Total())) {
    return ", up to " + most + " with what calibration adds";
  }
  return report.plan.half.has_value() ? ", before large values are looked for" : "";
}

/// Whether neither calibration nor large values in FP16 change anything.
bool IsExact(const RunReport& report) {
  return report.predicted.Total() == report.predicted_most.Total() && !report.plan.half.has_value();
}

nlohmann::ordered_json PredictedJson(const RunReport& report) {
  return {{"model_bytes", report.predicted.model},
          {"data_bytes", report.predicted.Data()},
          {"bytes", report.predicted.Total()},
          {"bytes_at_most", std::max(report.predicted.Total(), report.predicted_most.Total())},
          {"exact", IsExact(report)},
          {"files", ToJson(report.predicted_files)}};
}

/// Where the data is in several files: all of them, with their sizes.
std::string FilesText(const RunReport& report) {
  if (report.predicted.data.size() < 2) return "";
  std::string text;
  for (const WrittenFile& file : report.predicted_files) {
    text += (text.empty() ? "files         " : ", ") + file.name.generic_string() + ' ' +
            FormatBytes(file.bytes);
  }
  return text + '\n';
}

std::string WarningsText(const RunReport& report) {
  std::string text;
  for (const std::string& warning : report.warnings) text += "warning       " + warning + '\n';
  return text;
}

}  // namespace

std::string UpToDateText(const std::filesystem::path& destination) {
  return "up to date    " + destination.string() +
         " (same recipe, source and samples; --force makes it again)\n";
}

std::string PlanText(const RunReport& report, const LinearOrder& order) {
  using Align = TextTable::Align;
  TextTable table({{"linear"},
                   {"N x K", Align::kRight},
                   {"becomes"},
                   {"before", Align::kRight},
                   {"after", Align::kRight},
                   {"reason"}});
  const bool mixed = IsMixed(report.plan);
  for (const size_t i : Listed(report, order)) {
    const Linear& linear = report.plan.linears[i];
    const Outcome& outcome = report.outcomes[i];
    const std::string shape =
        linear.n > 0 ? std::to_string(linear.n) + " x " + std::to_string(linear.k) : "-";
    table.AddRow({linear.name, shape, FormOf(linear.decision, mixed),
                  FormatBytes(outcome.bytes_before), FormatBytes(outcome.bytes_after),
                  linear.decision.reason});
  }
  AddOtherRows(report.plan, table);
  const Totals totals = TotalsOf(report);
  std::ostringstream text;
  text << table.Text() << '\n'
       << "size          " << SizesText(report.bytes.Total()) << " predicted" << MostText(report)
       << '\n'
       << FilesText(report) << BytesText(report.bytes, report.savings) << "linears       "
       << totals.quantized << " quantized, " << totals.half << " stored as fp16, " << totals.kept
       << " kept\n"
       << CachesText(report.plan) << IslandsText(report) << WarningsText(report) << "peak memory   "
       << FormatBytes(report.predicted_peak_bytes) << " predicted\n"
       << "destination   " << report.destination.string() << '\n';
  for (const std::string& note : report.notes) text << "note          " << note << '\n';
  return text.str();
}

nlohmann::ordered_json PlanJson(const RunReport& report, const LinearOrder& order) {
  nlohmann::ordered_json json;
  json["destination"] = report.destination.string();
  json["bytes_before"] = report.bytes_before;
  json["bytes"] = BytesJson(report.bytes);
  json["savings"] = SavingsJson(report.savings);
  json["warnings"] = report.warnings;
  json["predicted_peak_bytes"] = report.predicted_peak_bytes;
  json["notes"] = report.notes;
  if (!report.islands.empty()) json["islands"] = report.islands;
  auto& linears = json["linears"] = nlohmann::ordered_json::array();
  for (const size_t i : Listed(report, order)) {
    const Linear& linear = report.plan.linears[i];
    const Outcome& outcome = report.outcomes[i];
    nlohmann::ordered_json entry;
    entry["name"] = linear.name;
    entry["node"] = linear.node_name;
    entry["n"] = linear.n;
    entry["k"] = linear.k;
    entry["decision"] = DecisionName(linear.decision);
    entry["reason"] = linear.decision.reason;
    if (linear.decision.quantizes()) {
      entry["form"] = linear.decision.form->name();
      entry["bits"] = linear.spec().bits;
      entry["stored_bits"] = StoredBits(linear.spec().bits);
      entry["group_size"] = linear.spec().group_size;
      entry["symmetric"] = linear.spec().symmetric;
    }
    entry["bytes_before"] = outcome.bytes_before;
    entry["bytes_after"] = outcome.bytes_after;
    linears.push_back(std::move(entry));
  }
  AddOthers(report, json);
  if (report.plan.caches.has_value()) json["caches"] = ToJson(*report.plan.caches);
  return json;
}

std::string SummaryText(const RunReport& report) {
  if (report.up_to_date) return UpToDateText(report.destination);
  const Totals totals = TotalsOf(report);
  const Timings& t = report.timings;
  std::ostringstream text;
  text << "written       " << report.destination.string() << '\n'
       << "size          " << SizesText({report.bytes_before, report.bytes_after}) << '\n'
       << BytesText(report.bytes, report.savings) << "linears       " << totals.quantized
       << " quantized (" << totals.scaled << " scaled), " << totals.half << " stored as fp16, "
       << totals.kept << " kept\n"
       << CachesText(report.plan) << IslandsText(report);
  if (report.tokens > 0) {
    text << "calibration   " << report.samples << " samples, " << report.tokens << " tokens";
    if (totals.unseen > 0) {
      text << "; " << totals.unseen
           << " linears saw none that can be used, and are rounded to nearest";
    }
    text << '\n';
  }
  for (const std::string& note : report.notes) text << "note          " << note << '\n';
  text << WarningsText(report) << "output error  " << FormatPercent(totals.loss)
       << " of the linears' output energy (" << FormatPercent(totals.loss_rtn)
       << " by rounding to nearest)\n"
       << "time          " << FormatSeconds(t.total) << ": " << PhaseText(t) << '\n'
       << "peak memory   " << FormatBytes(report.peak_bytes)
       << (report.ranks > 1 ? " on the largest of " + std::to_string(report.ranks) + " ranks" : "")
       << " (" << FormatBytes(report.predicted_peak_bytes) << " predicted)\n"
       << "verification  ";
  if (report.verification.done) {
    text << "outputs within " << FormatNumber(report.verification.max_relative, 2)
         << " of the expected ones (limit " << FormatNumber(report.verification.tolerance, 2)
         << ")\n";
  } else {
    text << "not done: " << report.verification.note << '\n';
  }
  if (report.gate.has_value()) text << GatesText(*report.gate);
  text << NextStepsText(report);
  return text.str();
}

nlohmann::ordered_json SummaryJson(const RunReport& report) {
  const Totals totals = TotalsOf(report);
  const Timings& t = report.timings;
  nlohmann::ordered_json json;
  json["destination"] = report.destination.string();
  json["up_to_date"] = report.up_to_date;
  json["resumed_segments"] = report.resumed_segments;
  json["bytes_before"] = report.bytes_before;
  json["bytes_after"] = report.bytes_after;
  json["bytes"] = BytesJson(report.bytes);
  json["savings"] = SavingsJson(report.savings);
  json["predicted"] = PredictedJson(report);
  json["linears"] = {{"quantized", totals.quantized},
                     {"scaled", totals.scaled},
                     {"rounded_unseen", totals.unseen},
                     {"fp16", totals.half},
                     {"kept", totals.kept}};
  json["calibration"] = {{"samples", report.samples}, {"tokens", report.tokens}};
  json["notes"] = report.notes;
  json["warnings"] = report.warnings;
  json["relative_loss"] = totals.loss;
  json["relative_loss_rtn"] = totals.loss_rtn;
  for (const Phase& phase : PhasesOf(t)) json["seconds"][phase.name] = phase.seconds;
  json["seconds"]["total"] = t.total;
  json["ranks"] = report.ranks;
  json["peak_resident_bytes"] = report.peak_bytes;
  json["predicted_peak_bytes"] = report.predicted_peak_bytes;
  json["verification"] = {{"done", report.verification.done},
                          {"max_relative", report.verification.max_relative},
                          {"tolerance", report.verification.tolerance},
                          {"note", report.verification.note}};
  json["next"] = NextStepsJson(report);
  return json;
}

}  // namespace ptq
