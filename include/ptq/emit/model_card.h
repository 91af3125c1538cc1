// The front of a model card: what the Hub reads of a model's README.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace ptq {

/// The YAML between the fences at the beginning of a card, fences included, with the lines of
/// `defaults` (key, and the whole text of its entry) for keys that have no value there. A card
/// without such a front, or none at all, gets one of the defaults.
[[nodiscard]] std::string FrontMatterWith(
    const std::string& card, const std::vector<std::pair<std::string, std::string>>& defaults);

/// What follows the front matter.
[[nodiscard]] std::string BodyOfCard(const std::string& card);

/// What the Hub calls the model in a directory, by its path in a cache or by config.json; empty
/// where nothing tells.
[[nodiscard]] std::string HubIdOf(const std::filesystem::path& directory);

}  // namespace ptq
