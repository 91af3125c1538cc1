// Takes names and numbers apart.
#include "shares.h"

#include "values.h"

namespace ptq {

Shares ParseShares(const std::string& text) {
  Shares shares;
  double sum = 0;
  for (const std::string& part : CLI::detail::split(text, ',')) {
    const size_t equals = part.rfind('=');
    if (equals == std::string::npos || equals == 0) {
      throw BadValue(Quoted(part) + " is no share; write NAME=NUMBER, as in code=0.3,chat=0.7");
    }
    const std::string name = part.substr(0, equals);
    for (const auto& [other, share] : shares) {
      if (other == name) throw BadValue(Quoted(name) + " has two shares");
    }
    shares.emplace_back(name, ParseReal(part.substr(equals + 1), {.least = 0}));
    sum += shares.back().second;
  }
  if (sum <= 0) throw BadValue("the shares add up to nothing");
  for (auto& [name, share] : shares) share /= sum;
  return shares;
}

CLI::Option* AddShares(CLI::App& app, const std::string& option, Shares& target,
                       const std::string& description) {
  return app
      .add_option_function<std::string>(
          option, [&target](const std::string& text) { target = ParseShares(text); }, description)
      ->type_name("NAME=X,...");
}

}  // namespace ptq
