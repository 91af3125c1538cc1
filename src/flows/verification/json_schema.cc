// Walks value and schema together: types, members, elements, bounds, patterns, alternatives.
#include "json_schema.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <regex>
#include <set>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;
using Errors = std::vector<std::string>;

bool HasType(const Json& value, const std::string& type) {
  if (type == "integer") {
    return value.is_number_integer() ||
           (value.is_number_float() && value.get<double>() == std::floor(value.get<double>()));
  }
  static const std::map<std::string, bool (Json::*)() const noexcept> kTypes = {
      {"object", &Json::is_object}, {"array", &Json::is_array},     {"string", &Json::is_string},
      {"number", &Json::is_number}, {"boolean", &Json::is_boolean}, {"null", &Json::is_null}};
  return (value.*kTypes.at(type))();
}

class Validator {
 public:
  explicit Validator(const Json& root) : root_(root) {}

  void Check(const Json& schema, const Json& value, const std::string& place, Errors& errors) {
    if (schema.is_boolean()) {
      if (!schema.get<bool>()) errors.push_back(place + " is not allowed");
      return;
    }
    for (const auto& [keyword, rule] : schema.items()) {
      static const std::set<std::string> kWords = {"$schema", "$defs",       "$id",     "title",
                                                   "default", "description", "examples"};
      if (kWords.contains(keyword)) continue;
      const auto check = Checks().find(keyword);
      if (check == Checks().end()) throw InternalError("no check for schemas' '" + keyword + "'");
      check->second(*this, {schema, rule, value, place, errors});
    }
  }

 private:
  /// One keyword, `rule`, of a schema, and what it is applied to.
  struct Point {
    const Json& schema;
    const Json& rule;
    const Json& value;
    const std::string& place;
    Errors& errors;
    void Fail(const std::string& what) const { errors.push_back(place + " " + what); }
  };
  using Checker = std::function<void(Validator&, const Point&)>;

  static const std::map<std::string, Checker>& Checks() {
    static const std::map<std::string, Checker> kChecks = {
        {"$ref", &Validator::Reference},
        {"type", &Validator::Type},
        {"const", [](Validator&, const Point& p) { OneOfValues(p, Json::array({p.rule})); }},
        {"enum", [](Validator&, const Point& p) { OneOfValues(p, p.rule); }},
        {"required", &Validator::Required},
        {"properties", &Validator::Properties},
        {"additionalProperties", &Validator::AdditionalProperties},
        {"items", &Validator::Items},
        {"minItems",
         [](Validator&, const Point& p) {
           if (p.value.is_array() && p.value.size() < p.rule) p.Fail("has too few elements");
         }},
        {"minimum", [](Validator&, const Point& p) { Bound(p, std::greater_equal<>(), "least"); }},
        {"maximum", [](Validator&, const Point& p) { Bound(p, std::less_equal<>(), "most"); }},
        {"exclusiveMinimum",
         [](Validator&, const Point& p) { Bound(p, std::greater<>(), "more than"); }},
        {"pattern", &Validator::Pattern},
        {"oneOf", &Validator::OneOf}};
    return kChecks;
  }

  static void Reference(Validator& self, const Point& p) {
    const auto target = Json::json_pointer(p.rule.get<std::string>().substr(1));
    self.Check(self.root_.at(target), p.value, p.place, p.errors);
  }

  static void Type(Validator&, const Point& p) {
    const Json types = p.rule.is_array() ? p.rule : Json::array({p.rule});
    const auto fits = [&](const Json& type) { return HasType(p.value, type); };
    if (std::ranges::none_of(types, fits)) {
      p.Fail(std::string("is of type ") + p.value.type_name() + ", not " + p.rule.dump());
    }
  }

  static void OneOfValues(const Point& p, const Json& values) {
    if (std::ranges::find(values, p.value) == values.end()) p.Fail("is not " + p.rule.dump());
  }

  static void Required(Validator&, const Point& p) {
    for (const Json& name : p.rule) {
      if (p.value.is_object() && !p.value.contains(name.get<std::string>())) {
        p.Fail("has no member '" + name.get<std::string>() + "'");
      }
    }
  }

  static void Properties(Validator& self, const Point& p) {
    for (const auto& [name, schema] : p.rule.items()) {
      if (!p.value.is_object() || !p.value.contains(name)) continue;
      self.Check(schema, p.value[name], p.place + "/" + name, p.errors);
    }
  }

  static void AdditionalProperties(Validator& self, const Point& p) {
    if (!p.value.is_object()) return;
    const Json known = p.schema.value("properties", Json::object());
    for (const auto& [name, value] : p.value.items()) {
      if (!known.contains(name)) self.Check(p.rule, value, p.place + "/" + name, p.errors);
    }
  }

  static void Items(Validator& self, const Point& p) {
    if (!p.value.is_array()) return;
    for (size_t i = 0; i < p.value.size(); ++i) {
      self.Check(p.rule, p.value[i], p.place + "/" + std::to_string(i), p.errors);
    }
  }

  template <class Holds>
  static void Bound(const Point& p, const Holds& holds, const char* what) {
    if (p.value.is_number() && !holds(p.value.get<double>(), p.rule.get<double>())) {
      p.Fail("is " + p.value.dump() + ", allowed is at " + what + " " + p.rule.dump());
    }
  }

  static void Pattern(Validator&, const Point& p) {
    constexpr size_t kLongest = 4096;  // std::regex goes one call deeper with each letter
    if (!p.value.is_string()) return;
    const auto& text = p.value.get_ref<const std::string&>();
    if (text.size() > kLongest || !std::regex_search(text, std::regex(p.rule.get<std::string>()))) {
      p.Fail("does not match " + p.rule.dump());
    }
  }

  /// The errors of the alternative that comes closest, when none fits.
  static void OneOf(Validator& self, const Point& p) {
    Errors fewest;
    int fit = 0;
    for (const Json& alternative : p.rule) {
      Errors errors;
      self.Check(alternative, p.value, p.place, errors);
      fit += errors.empty() ? 1 : 0;
      if (fewest.empty() || errors.size() < fewest.size()) fewest = std::move(errors);
    }
    if (fit == 0) p.errors.insert(p.errors.end(), fewest.begin(), fewest.end());
    if (fit > 1) p.Fail("fits several alternatives");
  }

  const Json& root_;
};

}  // namespace

std::vector<std::string> SchemaErrors(const Json& schema, const Json& value) {
  Errors errors;
  Validator(schema).Check(schema, value, "", errors);
  return errors;
}

}  // namespace ptq
