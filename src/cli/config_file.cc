#include "config_file.h"

#include <algorithm>
#include <iterator>
#include <sstream>

#include <nlohmann/json.hpp>

namespace ptq {
namespace {

std::string TextOf(const nlohmann::json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

void AddItems(const nlohmann::json& object, const std::vector<std::string>& parents,
              std::vector<CLI::ConfigItem>& items) {
  for (const auto& [key, value] : object.items()) {
    if (value.is_object()) {
      auto inner = parents;
      inner.push_back(key);
      AddItems(value, inner, items);
      continue;
    }
    // The metadata's recipe spells out empty lists; they mean that the option is not given.
    if (value.is_null() || (value.is_array() && value.empty())) continue;
    CLI::ConfigItem item;
    item.parents = parents;
    item.name = key;
    std::ranges::replace(item.name, '_', '-');
    if (value.is_array()) {
      for (const auto& element : value) item.inputs.push_back(TextOf(element));
    } else {
      item.inputs.push_back(TextOf(value));
    }
    items.push_back(std::move(item));
  }
}

}  // namespace

std::vector<CLI::ConfigItem> ConfigFile::from_config(std::istream& input) const {
  const std::string text{std::istreambuf_iterator<char>(input), std::istreambuf_iterator<char>()};
  std::vector<CLI::ConfigItem> found;
  if (text.find_first_not_of(" \t\r\n") != std::string::npos &&
      text[text.find_first_not_of(" \t\r\n")] == '{') {
    const auto json = nlohmann::json::parse(text, nullptr, false);
    if (json.is_discarded()) throw CLI::ConfigError("--config: not valid JSON");
    AddItems(json, {}, found);
  } else {
    std::istringstream stream(text);
    found = CLI::ConfigTOML::from_config(stream);
  }
  // A recipe is about the one command that reads recipes unless it says otherwise.
  for (CLI::ConfigItem& item : found) {
    if (item.parents.empty()) item.parents.push_back(commands_.front());
  }
  return found;
}

}  // namespace ptq
