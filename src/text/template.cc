// Hands templates and their document to the library that renders them.
#include "ptq/text/template.h"

#include "backend.h"
#include <nlohmann/json.hpp>

#include "ptq/base/error.h"
#include "ptq/base/json.h"

namespace ptq {

std::string RenderTemplate(const std::map<std::string, std::string>& templates,
                           const std::string& name, const nlohmann::ordered_json& document) {
  if (!document.is_object()) throw InternalError("a template's document is no object");
  return text_backend::RenderTemplate(DumpJson(nlohmann::ordered_json(templates)), name,
                                      DumpJson(document));
}

}  // namespace ptq
