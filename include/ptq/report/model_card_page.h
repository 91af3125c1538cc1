// The model card of a result: a README with a front that the Hub reads (docs/reports.md).
#pragma once

#include <filesystem>
#include <string>

#include <nlohmann/json_fwd.hpp>

namespace ptq {

struct CardRequest {
  std::filesystem::path source;           ///< the model, or its directory
  std::filesystem::path template_source;  ///< a template; empty: the one inside the program
};

/// For a template that is the user's: throws InputError when it cannot be read, UsageError in a
/// build without PTQ_TEXT.
void CheckCard(const CardRequest& request);

/// The card of a result that lies in `result` as it will be, with a card of the source among its
/// files or without; `metadata`: what the result's say. Nothing in it depends on the clock or the
/// machine. Throws InputError for a template that fails.
[[nodiscard]] std::string ModelCard(const CardRequest& request, const std::filesystem::path& result,
                                    const nlohmann::ordered_json& metadata);

}  // namespace ptq
