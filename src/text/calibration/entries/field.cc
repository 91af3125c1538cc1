// Follows a dotted path through objects and lists.
#include <algorithm>
#include <charconv>
#include <string>

#include "entry.h"

namespace ptq {
namespace {

/// What is at the end of a dotted path; a name in front of a list is looked for in its items.
void AtField(const OrderedJson& value, std::string_view field,
             std::vector<const OrderedJson*>& found) {
  if (field.empty()) {
    found.push_back(&value);
    return;
  }
  if (value.is_object()) {  // names may hold dots
    for (size_t end = field.size(); end != std::string_view::npos;
         end = end == 0 ? std::string_view::npos : field.rfind('.', end - 1)) {
      const auto member = value.find(std::string(field.substr(0, end)));
      if (member == value.end()) continue;
      return AtField(*member, end == field.size() ? "" : field.substr(end + 1), found);
    }
    return;
  }
  if (!value.is_array()) return;
  const size_t end = std::min(field.find('.'), field.size());
  size_t index = 0;
  const auto [stop, error] = std::from_chars(field.data(), field.data() + end, index);
  if (error == std::errc() && stop == field.data() + end) {
    if (index >= value.size()) return;
    return AtField(value[index], end == field.size() ? "" : field.substr(end + 1), found);
  }
  for (const OrderedJson& item : value) AtField(item, field, found);
}

}  // namespace

std::vector<const OrderedJson*> ValuesAt(const OrderedJson& value, std::string_view field) {
  std::vector<const OrderedJson*> found;
  AtField(value, field, found);
  return found;
}

}  // namespace ptq
