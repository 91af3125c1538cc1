// The templates of CI's files, inside the program (data/ci/).
#pragma once

#include <string_view>

namespace ptq {

[[nodiscard]] std::string_view JunitTemplate();
[[nodiscard]] std::string_view GithubSummaryTemplate();

}  // namespace ptq
