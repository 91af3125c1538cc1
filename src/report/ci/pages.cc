// JUnit's XML and GitHub's Markdown, from templates.
#include <map>

#include "ci_templates.h"
#include <nlohmann/json.hpp>

#include "ptq/base/format.h"
#include "ptq/report/ci.h"
#include "ptq/report/table.h"
#include "ptq/text/template.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

/// Control characters are no part of XML, and break Markdown's tables.
void Clean(Json& value) {
  if (value.is_structured()) {
    for (Json& member : value) Clean(member);
  } else if (value.is_string()) {
    for (char& c : value.get_ref<std::string&>()) {
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
    }
  }
}

/// Texts for people beside the numbers.
Json WithTexts(Json document) {
  Clean(document);
  const auto add = [](Json& object, const char* number, const char* text, const auto& format) {
    const bool known = object.contains(number) && object[number].is_number();
    object[text] = known ? Json(format(object[number])) : Json("-");
  };
  const auto bytes = [](const Json& value) { return FormatBytes(value.get<int64_t>()); };
  const auto seconds = [](const Json& value) { return FormatSeconds(value.get<double>()); };
  add(document, "bytes_before", "size_before", bytes);
  add(document, "bytes_after", "size_after", bytes);
  add(document, "seconds", "time", seconds);
  const auto number = [](const Json& value) { return FormatNumber(value.get<double>(), 4); };
  if (document.contains("gate")) {
    for (Json& result : document["gate"]["results"]) {
      add(result, "value", "value_text", number);
      add(result, "bound", "bound_text", number);
    }
  }
  if (!document.contains("jobs")) return document;
  for (Json& job : document["jobs"]) {
    add(job, "bytes_before", "size_before", bytes);
    add(job, "bytes_after", "size_after", bytes);
    add(job, "seconds", "time", seconds);
  }
  return document;
}

}  // namespace

std::string JunitText(const Json& document) {
  return RenderTemplate({{"junit.xml", std::string(JunitTemplate())}}, "junit.xml",
                        WithTexts(document));
}

std::string GithubSummaryText(const Json& document) {
  return RenderTemplate({{"summary.md", std::string(GithubSummaryTemplate())}}, "summary.md",
                        WithTexts(document));
}

}  // namespace ptq
