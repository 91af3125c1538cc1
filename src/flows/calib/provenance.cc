// Writes calibration files, and where their texts are from.
#include "provenance.h"

#include <string>
#include <utility>

#include "ptq/base/file.h"
#include "ptq/base/hash.h"
#include "ptq/base/json.h"
#include "ptq/model/model.h"

namespace ptq {

std::filesystem::path ProvenancePath(const std::filesystem::path& file) {
  std::filesystem::path path = file;
  return path.replace_extension(".provenance.json");
}

nlohmann::ordered_json FilesJson(const std::vector<CorpusFile>& files) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const CorpusFile& file : files) {
    list.push_back({{"file", file.name},
                    {"format", file.format},
                    {"sha256", file.sha256},
                    {"texts", file.texts},
                    {"empty", file.empty}});
  }
  return list;
}

nlohmann::ordered_json ModelJson(const std::filesystem::path& source) {
  const Model model = Model::Load(source);
  return {{"file", model.path().filename().string()}, {"sha256", Sha256OfFile(model.path())}};
}

void WriteCalibrationFile(const std::filesystem::path& file, std::string_view lines,
                          const nlohmann::ordered_json& body) {
  nlohmann::ordered_json json = {{"tool", {{"name", "quantize"}, {"version", PTQ_VERSION}}},
                                 {"file", file.filename().string()},
                                 {"sha256", Sha256Hex(lines)}};
  json.update(body);
  WriteFileAtomically(ProvenancePath(file), DumpJson(json, 2) + "\n");
  WriteFileAtomically(file, lines);
}

}  // namespace ptq
