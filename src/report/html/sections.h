// The sections of a page, each made of blocks that the template knows: figures, facts, lists,
// tables and charts.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace ptq {

/// Rows of a table that a page holds at most; the tensors that lose most are kept.
inline constexpr size_t kMostRows = 5000;
/// Of rows with pictures.
inline constexpr size_t kMostPictures = 300;

/// {"id", "title", "text", "blocks": […]}, or null when the document has nothing for it.
using SectionMaker = nlohmann::ordered_json (*)(const nlohmann::ordered_json& document);

/// In the order of the page.
[[nodiscard]] const std::vector<SectionMaker>& Sections();

// ---- Blocks ------------------------------------------------------------------------------------

/// A cell that is sorted by a number; "-" for null.
[[nodiscard]] nlohmann::ordered_json NumberCell(const nlohmann::ordered_json& value,
                                                std::string (*format)(double));
[[nodiscard]] nlohmann::ordered_json BytesCell(const nlohmann::ordered_json& value);
[[nodiscard]] nlohmann::ordered_json PercentCell(const nlohmann::ordered_json& value);
[[nodiscard]] nlohmann::ordered_json PlainCell(const nlohmann::ordered_json& value);
[[nodiscard]] std::string CellText(const nlohmann::ordered_json& value);
/// A share of the largest, drawn as a bar beside the cell's text.
[[nodiscard]] nlohmann::ordered_json WithBar(nlohmann::ordered_json cell, double share);

struct ColumnSpec {
  std::string title;
  bool number = false;
  bool choices = false;  ///< can be filtered by its values
  std::string help = {};
};
/// An empty table; rows are appended to its "rows".
[[nodiscard]] nlohmann::ordered_json TableBlock(const std::string& id, const std::string& caption,
                                                const std::vector<ColumnSpec>& columns);
[[nodiscard]] nlohmann::ordered_json SectionJson(const std::string& id, const std::string& title,
                                                 const std::string& text,
                                                 nlohmann::ordered_json blocks);

// ---- Sections ----------------------------------------------------------------------------------

[[nodiscard]] nlohmann::ordered_json SummarySection(const nlohmann::ordered_json& document);
[[nodiscard]] nlohmann::ordered_json GateSection(const nlohmann::ordered_json& document);
[[nodiscard]] nlohmann::ordered_json EvaluationSection(const nlohmann::ordered_json& document);
[[nodiscard]] nlohmann::ordered_json ParetoSection(const nlohmann::ordered_json& document);
[[nodiscard]] nlohmann::ordered_json JobsSection(const nlohmann::ordered_json& document);
[[nodiscard]] nlohmann::ordered_json ComparisonSection(const nlohmann::ordered_json& document);
[[nodiscard]] nlohmann::ordered_json DepthSection(const nlohmann::ordered_json& document);
[[nodiscard]] nlohmann::ordered_json TensorsSection(const nlohmann::ordered_json& document);
[[nodiscard]] nlohmann::ordered_json SitesSection(const nlohmann::ordered_json& document);
[[nodiscard]] nlohmann::ordered_json SizesSection(const nlohmann::ordered_json& document);
[[nodiscard]] nlohmann::ordered_json CalibrationSection(const nlohmann::ordered_json& document);
[[nodiscard]] nlohmann::ordered_json GrowthSection(const nlohmann::ordered_json& document);
[[nodiscard]] nlohmann::ordered_json SensitivitySection(const nlohmann::ordered_json& document);
[[nodiscard]] nlohmann::ordered_json CandidatesSection(const nlohmann::ordered_json& document);
[[nodiscard]] nlohmann::ordered_json ChannelsSection(const nlohmann::ordered_json& document);
[[nodiscard]] nlohmann::ordered_json RecipeSection(const nlohmann::ordered_json& document);

}  // namespace ptq
