// The templates, the style and the script of pages, inside the program (data/report/).
#pragma once

#include <string_view>

namespace ptq {

[[nodiscard]] std::string_view ReportPage();
[[nodiscard]] std::string_view ReportBlocks();
[[nodiscard]] std::string_view ReportCharts();
[[nodiscard]] std::string_view ReportStyle();
[[nodiscard]] std::string_view ReportScript();
[[nodiscard]] std::string_view CardTemplate();

}  // namespace ptq
