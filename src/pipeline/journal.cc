// Carries commands out, notes them down, and saves the notes step by step behind the run.
#include "journal.h"

#include <exception>
#include <utility>

#include <spdlog/spdlog.h>

namespace ptq {

Journal::Journal(StagedDirectory& staged, OutputModel& output, const Plan& plan, double seconds)
    : staged_(staged), output_(output), plan_(plan), seconds_(seconds) {
  if (Checkpoint::IsIn(staged.path())) staged_.Keep();
}

void Journal::Open(const nlohmann::ordered_json& identity) {
  checkpoint_.emplace(staged_.path(), identity);
}

Journal::Outcomes Journal::Replay() {
  Outcomes outcomes;
  for (const CheckpointRecord& record : checkpoint_->records()) {
    std::vector<std::pair<Site, std::vector<float>>> scaled;
    for (const ScaledSite& site : record.scaled) scaled.emplace_back(site.site, site.scale);
    output_.Replay(record.edits, scaled, record.biases);
    outcomes.linears.insert(outcomes.linears.end(), record.outcomes.begin(), record.outcomes.end());
    outcomes.tables.insert(outcomes.tables.end(), record.tables.begin(), record.tables.end());
    outcomes.filters.insert(outcomes.filters.end(), record.filters.begin(), record.filters.end());
  }
  output_.Continue();
  return outcomes;
}

void Journal::ScaleSite(ScaledSite scaled) {
  output_.ScaleSite(scaled.site, scaled.scale);
  unsaved_.scaled.push_back(std::move(scaled));
}

void Journal::AddBias(int linear, std::vector<float> bias) {
  output_.AddBias(plan_.linears[size_t(linear)], bias);
  unsaved_.biases.emplace_back(linear, std::move(bias));
}

int64_t Journal::Quantize(int linear, const QuantizedMatrix& q, Outcome outcome) {
  const int64_t bytes = output_.Quantize(plan_.linears[size_t(linear)], q, outcome.Levels());
  outcome.bytes_after = bytes;
  unsaved_.outcomes.emplace_back(linear, std::move(outcome));
  return bytes;
}

void Journal::QuantizeTable(int table, const TableRows& rows, Outcome& outcome) {
  outcome.bytes_after = output_.QuantizeTable(plan_.tables[size_t(table)], rows);
  unsaved_.tables.emplace_back(table, outcome);
}

void Journal::QuantizeFilters(int constant, const QuantizedMatrix& q, const Outcome& outcome) {
  output_.QuantizeFilters(plan_.constants[size_t(constant)], q);
  unsaved_.filters.emplace_back(constant, outcome);
}

bool Journal::WorthKeeping() const {
  const std::chrono::duration<double> lost = std::chrono::steady_clock::now() - saved_;
  return lost.count() >= seconds_ && !output_.HoldsExperts();
}

void Journal::Save(size_t segments, const CutStore* cuts, const Values* expectation, bool behind) {
  Finish();  // before the next activations are held: those of one step fit into memory
  unsaved_.segments = segments;
  unsaved_.edits = output_.TakeEdits();
  std::optional<CutStore::Image> held;
  std::optional<Values> values;
  if (cuts != nullptr) held = cuts->TakeImage();
  if (expectation != nullptr) values = *expectation;
  behind = behind && (!held.has_value() || held->IsLasting());
  saving_ = std::async(behind ? std::launch::async : std::launch::deferred,
                       [this, record = std::exchange(unsaved_, {}), held = std::move(held),
                        values = std::move(values)]() mutable {
                         // The future keeps this function; what is saved should not wait for it.
                         const auto image = std::exchange(held, std::nullopt);
                         checkpoint_->Save(record, image, values);
                       });
  if (!behind) Finish();
  saved_ = std::chrono::steady_clock::now();
}

void Journal::Finish() {
  if (saving_.valid()) saving_.get();
}

bool Journal::Keep() {
  try {
    Finish();
  } catch (const std::exception& error) {  // the step before it still counts
    spdlog::warn(std::string("the last checkpoint could not be saved: ") + error.what());
  }
  if (segments() == 0) return false;
  staged_.Keep();
  return true;
}

void Journal::Commit() {
  checkpoint_->Remove();
  staged_.Commit();
}

}  // namespace ptq
