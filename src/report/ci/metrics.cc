// Gauges for a Prometheus textfile collector; prometheus-cpp writes them.
#include <sstream>

#include <nlohmann/json.hpp>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include "ptq/base/json.h"
#include "ptq/report/ci.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;
using Labels = std::vector<prometheus::ClientMetric::Label>;

/// Families in the order in which they are first met.
class Gauges {
 public:
  explicit Gauges(Labels common) : common_(std::move(common)) {}

  void Add(const std::string& name, const std::string& help, const Json& value,
           const Labels& labels = {}) {
    if (!value.is_number() && !value.is_boolean()) return;  // not known
    prometheus::ClientMetric metric;
    metric.label = common_;
    metric.label.insert(metric.label.end(), labels.begin(), labels.end());
    metric.gauge.value = value.is_boolean() ? double(value.get<bool>()) : value.get<double>();
    Family(name, help).metric.push_back(std::move(metric));
  }

  [[nodiscard]] std::string Text() const {
    std::ostringstream out;
    prometheus::TextSerializer().Serialize(out, families_);
    return out.str();
  }

 private:
  prometheus::MetricFamily& Family(const std::string& name, const std::string& help) {
    for (prometheus::MetricFamily& family : families_) {
      if (family.name == "quantize_" + name) return family;
    }
    families_.push_back({"quantize_" + name, help, prometheus::MetricType::Gauge, {}});
    return families_.back();
  }

  Labels common_;
  std::vector<prometheus::MetricFamily> families_;
};

void AddGates(const Json& gate, Gauges& gauges) {
  for (const Json& result : gate.at("results")) {
    const Labels labels = {{"gate", result.at("gate").get<std::string>()}};
    gauges.Add("gate_value", "What a quality gate has measured.", result.at("value"), labels);
    gauges.Add("gate_bound", "What it had to keep.", result.at("bound"), labels);
    gauges.Add("gate_passed", "Whether it was kept.", result.at("passed"), labels);
  }
  gauges.Add("fallback_tensors", "Tensors that got more bits so that the gates hold.",
             gate.at("fallback").size());
}

void AddJobs(const Json& document, Gauges& gauges) {
  for (const char* const state : {"done", "up_to_date", "failed"}) {
    gauges.Add("jobs", "Jobs of a batch by what became of them.", document.at(state),
               {{"state", state}});
  }
  for (const Json& job : document.at("jobs")) {
    const Labels labels = {{"id", job.at("id").get<std::string>()}};
    gauges.Add("job_success", "Whether a job has a result that is up to date.",
               job.at("state") != "failed", labels);
    gauges.Add("job_duration_seconds", "Time that a job took.", job.at("seconds"), labels);
    gauges.Add("job_peak_memory_bytes", "Most resident memory of a job.",
               job.at("peak_resident_bytes"), labels);
    for (const char* const when : {"before", "after"}) {
      Labels own = labels;
      own.push_back({"when", when});
      gauges.Add("job_bytes", "Size of a job's model.", job.at(std::string("bytes_") + when), own);
    }
  }
}

}  // namespace

std::string MetricsText(const Json& document, double now) {
  Gauges gauges({{"command", document.at("command").get<std::string>()},
                 {"model", document.at("model").get<std::string>()}});
  gauges.Add("success", "Whether the command did what was asked for.", document.at("status") == 0);
  gauges.Add("exit_status", "Its exit status.", document.at("status"));
  gauges.Add("completion_time_seconds", "When it ended, since 1970.", now);
  gauges.Add("duration_seconds", "Time that it took.", MemberOrNull(document, "seconds"));
  gauges.Add("peak_memory_bytes", "Most resident memory.", MemberOrNull(document, "peak_bytes"));
  for (const char* const when : {"before", "after"}) {
    gauges.Add("model_bytes", "Size of the model's files.",
               MemberOrNull(document, (std::string("bytes_") + when).c_str()), {{"when", when}});
  }
  gauges.Add("relative_loss", "Mean loss of the linears, of their output energy.",
             MemberOrNull(document, "relative_loss"));
  const Json linears = MemberOrNull(document, "linears");
  if (linears.is_object()) {
    for (const auto& [decision, count] : linears.items()) {
      gauges.Add("linears", "Linears by what became of them.", count, {{"decision", decision}});
    }
  }
  if (document.contains("gate")) AddGates(document.at("gate"), gauges);
  if (document.contains("jobs")) AddJobs(document, gauges);
  return gauges.Text();
}

}  // namespace ptq
