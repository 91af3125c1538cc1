// sweep.json: what is known of the points of a sweep, by their ids.
#pragma once

#include <filesystem>
#include <optional>

#include <nlohmann/json.hpp>

#include "ptq/flows/sweep.h"

namespace ptq {

/// Used by one thread.
class SweepNotes {
 public:
  /// Reads what an earlier sweep has noted. Throws InputError when the file is something else.
  explicit SweepNotes(const std::filesystem::path& directory);

  /// The result of a point, made for the same `key`.
  [[nodiscard]] std::optional<SweepResult> Find(const std::string& id,
                                                const nlohmann::ordered_json& key) const;
  /// Notes a result; durable behind this.
  void Enter(const SweepResult& result, const nlohmann::ordered_json& key);

 private:
  std::filesystem::path file_;
  nlohmann::ordered_json notes_;
};

}  // namespace ptq
