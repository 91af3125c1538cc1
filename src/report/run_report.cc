// Makes tables and JSON of plans and outcomes, with totals, times and sizes.
#include "ptq/report/run_report.h"

#include <algorithm>
#include <sstream>

#include <nlohmann/json.hpp>

#include "ptq/base/memory.h"
#include "ptq/emit/stored_codes.h"
#include "ptq/report/bytes_report.h"
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
    const LinearOutcome& outcome = report.outcomes[i];
    switch (report.plan.linears[i].decision) {
      case Decision::kHalf: ++totals.half; break;
      case Decision::kKeep: ++totals.kept; break;
      case Decision::kQuantize:
        ++totals.quantized;
        if (outcome.scaling != "none") ++totals.scaled;
        if (!outcome.note.empty()) ++totals.unseen;
        if (outcome.energy > 0) {
          totals.loss += outcome.loss / outcome.energy;
          totals.loss_rtn += outcome.loss_rtn / outcome.energy;
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

std::string FormOf(const Linear& linear) {
  if (linear.decision != Decision::kQuantize) return DecisionName(linear.decision);
  const std::string group =
      linear.spec.group_size == 0 ? "channel" : "g" + std::to_string(linear.spec.group_size);
  return "int" + std::to_string(linear.spec.bits) + " " + group +
         (linear.spec.symmetric ? "" : " asym");
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
  using Align = Table::Align;
  Table table({{"linear"},
               {"N x K", Align::kRight},
               {"becomes"},
               {"before", Align::kRight},
               {"after", Align::kRight},
               {"reason"}});
  for (const size_t i : Listed(report, order)) {
    const Linear& linear = report.plan.linears[i];
    const LinearOutcome& outcome = report.outcomes[i];
    const std::string shape =
        linear.n > 0 ? std::to_string(linear.n) + " x " + std::to_string(linear.k) : "-";
    table.AddRow({linear.name, shape, FormOf(linear), FormatBytes(outcome.bytes_before),
                  FormatBytes(outcome.bytes_after), linear.reason});
  }
  const Totals totals = TotalsOf(report);
  std::ostringstream text;
  text << table.Text() << '\n'
       << "size          " << SizesText(report.bytes.Total()) << " predicted\n"
       << BytesText(report.bytes, report.savings) << "linears       " << totals.quantized
       << " quantized, " << totals.half << " stored as fp16, " << totals.kept << " kept\n"
       << WarningsText(report) << "peak memory   " << FormatBytes(report.predicted_peak_bytes)
       << " predicted\n"
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
  auto& linears = json["linears"] = nlohmann::ordered_json::array();
  for (const size_t i : Listed(report, order)) {
    const Linear& linear = report.plan.linears[i];
    const LinearOutcome& outcome = report.outcomes[i];
    nlohmann::ordered_json entry;
    entry["name"] = linear.name;
    entry["node"] = linear.node_name;
    entry["n"] = linear.n;
    entry["k"] = linear.k;
    entry["decision"] = DecisionName(linear.decision);
    entry["reason"] = linear.reason;
    if (linear.decision == Decision::kQuantize) {
      entry["bits"] = linear.spec.bits;
      entry["stored_bits"] = StoredBits(linear.spec.bits);
      entry["group_size"] = linear.spec.group_size;
      entry["symmetric"] = linear.spec.symmetric;
    }
    entry["bytes_before"] = outcome.bytes_before;
    entry["bytes_after"] = outcome.bytes_after;
    linears.push_back(std::move(entry));
  }
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
       << totals.kept << " kept\n";
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
