// The account of bytes as text and JSON.
#include "ptq/report/bytes_report.h"

#include <algorithm>
#include <array>
#include <utility>

#include <nlohmann/json.hpp>

#include "ptq/base/format.h"
#include "ptq/report/table.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

std::array<std::pair<const char*, BytesPart>, 4> PartsOf(const FileBytes& bytes) {
  return {{{"linears", bytes.linears},
           {"head", bytes.head},
           {"tables", bytes.tables},
           {"rest", bytes.rest}}};
}

double Share(int64_t part, int64_t whole) {
  return double(part) / double(std::max<int64_t>(1, whole));
}

std::string Padded(std::string text, size_t width) {
  text.insert(0, width - std::min(width, text.size()), ' ');
  return text;
}

}  // namespace

std::string BytesText(const FileBytes& bytes, const std::vector<Saving>& savings) {
  const int64_t total = bytes.Total().after;
  std::string text;
  for (const auto& [name, part] : PartsOf(bytes)) {
    if (part.before == 0 && part.after == 0) continue;
    std::string label = name;
    label.resize(9, ' ');
    text += (text.empty() ? "bytes         " : "              ") + label +
            Padded(FormatBytes(part.before), 10) + " -> " + Padded(FormatBytes(part.after), 10) +
            Padded(FormatPercent(Share(part.after, total)), 9) + " of the result\n";
  }
  for (const Saving& saving : savings) {
    text += "smaller       " + saving.option + " saves " + FormatBytes(saving.bytes) + " (" +
            saving.what + ": " + FormatPercent(Share(saving.part, total)) + " of the result)\n";
  }
  return text;
}

Json BytesJson(const FileBytes& bytes) {
  Json json;
  for (const auto& [name, part] : PartsOf(bytes)) {
    json[name] = {{"before", part.before}, {"after", part.after}};
  }
  return json;
}

Json SavingsJson(const std::vector<Saving>& savings) {
  Json json = Json::array();
  for (const Saving& saving : savings) {
    json.push_back({{"what", saving.what},
                    {"part_bytes", saving.part},
                    {"option", saving.option},
                    {"bytes", saving.bytes}});
  }
  return json;
}

}  // namespace ptq
