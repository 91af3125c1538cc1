// Pages and documents made from Jinja templates and one JSON document.
#pragma once

#include <map>
#include <string>

#include <nlohmann/json_fwd.hpp>

namespace ptq {

/// Renders the template `name` of `templates`, which may include or import the others by name, with
/// the members of the object `document` as variables. What a template whose name ends in ".html"
/// prints is escaped for HTML (`tojson` also for the inside of a script element); other templates
/// print as it is. A variable that is not there is false, and an error where it is printed.
///
/// Filters are Jinja's, and `filesizeformat` and `pluralize`. Throws InputError with the template's
/// name and line for a template that is malformed or fails, UsageError in a build without
/// PTQ_TEXT. May be called from several threads.
[[nodiscard]] std::string RenderTemplate(const std::map<std::string, std::string>& templates,
                                         const std::string& name,
                                         const nlohmann::ordered_json& document);

}  // namespace ptq
