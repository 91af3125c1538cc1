// Renders the page by the templates inside the program (data/report/), and writes it.
#include <array>
#include <string>
#include <system_error>
#include <utility>

#include "sections.h"
#include "templates.h"

#include "ptq/base/confined_path.h"
#include "ptq/base/destination.h"
#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/hash.h"
#include "ptq/report/report.h"
#include "ptq/text/template.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// Near the beginning of every page: by it a page may be replaced.
constexpr std::string_view kMark = "<meta name=\"generator\" content=\"quantize\">";
constexpr size_t kMarkWithin = 400;

/// The digits of a hash as Content-Security-Policy wants them.
std::string Base64OfHex(const std::string& hex) {
  constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bits;
  for (const char digit : hex) {
    const auto value = size_t(digit <= '9' ? digit - '0' : digit - 'a' + 10);
    for (int bit = 3; bit >= 0; --bit) bits += char('0' + int(value >> size_t(bit) & 1U));
  }
  while (bits.size() % 6 != 0) bits += '0';
  std::string text;
  for (size_t i = 0; i < bits.size(); i += 6) {
    text += kAlphabet[std::stoul(bits.substr(i, 6), nullptr, 2)];
  }
  while (text.size() % 4 != 0) text += '=';
  return text;
}

/// Whether a file that is there may be replaced: it is a page of this program, or empty.
bool IsReport(const fs::path& file) {
  const std::string front = ReadFront(file, kMarkWithin);
  return front.empty() || front.find(kMark) != std::string::npos;
}

}  // namespace

std::string ReportHtml(const Json& document) {
  Json sections = Json::array();
  for (const SectionMaker make : Sections()) {
    if (Json section = make(document); !section.is_null()) sections.push_back(std::move(section));
  }
  const std::string script(ReportScript());
  const Json context = {{"title", document.value("title", "Quantized model")},
                        {"heading", document.value("heading", "Quantization report")},
                        {"tool", document.value("tool", Json())},
                        {"sections", std::move(sections)},
                        {"css", std::string(ReportStyle())},
                        {"script", script},
                        {"script_hash", Base64OfHex(Sha256Hex(script))}};
  return RenderTemplate({{"report.html", std::string(ReportPage())},
                         {"blocks.html", std::string(ReportBlocks())},
                         {"charts.html", std::string(ReportCharts())}},
                        "report.html", context);
}

void WriteReport(const fs::path& file, const Json& document) {
  WriteFileAtomically(file, ReportHtml(document));
}

void CheckReportFile(const fs::path& file, const std::vector<fs::path>& inputs,
                     const std::vector<fs::path>& results) {
  if (file.empty()) return;
  if (!file.has_filename()) {
    throw OutputError("'" + file.string() + "' is a directory; give the name of a file to write");
  }
  CheckOutputFile(file, inputs);
  for (const fs::path& result : results) {
    if (!Contains(result, file)) continue;
    throw OutputError("'" + file.string() + "' is inside '" + result.string() +
                      "', which holds what a run writes and nothing else; write the report beside "
                      "it");
  }
  std::error_code error;
  if (fs::exists(file, error) && !IsReport(file)) {
    throw OutputError("'" + file.string() +
                      "' is not a report of this program, and is never replaced; give another "
                      "name");
  }
  (void)RenderTemplate({{"a.html", ""}}, "a.html", Json::object());  // whether this build can
  const AtomicFile probe(file);                                      // leaves nothing
}

}  // namespace ptq
