// Loads a model's floats, refusing or dequantizing codes, and tells one source from another.
#include "ptq/calibrate/source.h"

#include <array>
#include <ctime>
#include <set>
#include <string>
#include <utility>

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include "ptq/base/error.h"
#include "ptq/base/json.h"

namespace ptq {
namespace {

/// The model's files by name, its own first.
std::vector<std::pair<std::string, std::filesystem::path>> FilesOf(const Model& model) {
  std::vector<std::pair<std::string, std::filesystem::path>> files;
  files.emplace_back(model.path().filename().string(), model.path());
  for (const std::string& name : model.ExternalFiles()) {
    files.emplace_back(name, model.DataFile(name));
  }
  return files;
}

/// 0 when somebody removes it meanwhile, which is reported when a weight is read from it.
uintmax_t SizeOf(const std::filesystem::path& path) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  return error ? 0 : size;
}

/// "2026-03-01 12:30:59.123456789 UTC"; empty for a missing file.
std::string TimeOf(const std::filesystem::path& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return "";
  std::tm fields{};
  if (::gmtime_r(&info.st_mtim.tv_sec, &fields) == nullptr) return "";
  std::array<char, 64> text{};
  std::strftime(text.data(), text.size(), "%F %T", &fields);
  const std::string fraction = std::to_string(1'000'000'000 + info.st_mtim.tv_nsec);
  return std::string(text.data()) + "." + fraction.substr(1) + " UTC";
}

/// "28 MatMulNBits (4 bits), 1 GatherBlockQuantized (4 and 8 bits)"
std::string Counts(const QuantizedWeights& weights) {
  std::map<std::string, std::pair<int64_t, std::set<int>>> types;
  for (const QuantizedNode& node : weights.nodes) {
    ++types[node.op_type].first;
    types[node.op_type].second.insert(node.bits);
  }
  std::string text;
  for (const auto& [type, found] : types) {
    std::string bits;
    for (const int count : found.second) {
      bits += (bits.empty() ? "" : " and ") + std::to_string(count);
    }
    text += (text.empty() ? "" : ", ") + std::to_string(found.first) + " " + type + " (" + bits +
            " bits)";
  }
  return text;
}

Model LoadAs(const std::filesystem::path& path, Codes codes) {
  Model model = Model::Load(path);
  if (codes == Codes::kKeep) return model;
  const bool requantize = codes == Codes::kDequantize;
  const QuantizedWeights weights = model.FindQuantizedWeights();
  if (weights.nodes.empty() && (weights.caches == 0 || !requantize)) return model;
  if (!requantize) {
    const bool partly = weights.float_products > 0;
    throw UnsupportedError(
        "'" + model.path().string() + "' is " + (partly ? "partly " : "") +
        "quantized already: " + Counts(weights) + ", such as '" + weights.nodes.front().name + "'" +
        (partly
             ? ", beside " + std::to_string(weights.float_products) + " products with float weights"
             : "") +
        "; quantize the original model, give --from-qat to keep these codes, or --requantize to "
        "dequantize these weights first");
  }
  std::string what = Counts(weights);
  if (weights.caches > 0) {
    what += (what.empty() ? "" : ", ") + std::to_string(weights.caches) + " caches of codes";
  }
  spdlog::info("dequantizing " + what);
  return Model::Load(model.path(), /*dequantize=*/true);
}

}  // namespace

Source::Source(const std::filesystem::path& path, Codes codes)
    : model(LoadAs(path, codes)), graph(model), executor(graph) {}

int64_t SourceBytes(const Model& model) {
  int64_t bytes = 0;
  for (const auto& [name, path] : FilesOf(model)) bytes += int64_t(SizeOf(path));
  return bytes;
}

nlohmann::ordered_json SourceIdentity(const Model& model, const std::string& sha256) {
  nlohmann::ordered_json identity;
  identity["sha256"] = sha256;
  for (const auto& [name, path] : FilesOf(model)) identity["bytes"][name] = SizeOf(path);
  return identity;
}

void CheckSameSource(const Model& model, const std::string& sha256, Ranks& ranks) {
  if (ranks.size() == 1) return;
  const nlohmann::ordered_json own = {{"tool", PTQ_VERSION},
                                      {"source", SourceIdentity(model, sha256)}};
  std::string first = DumpJson(own);
  ranks.Copy(first, 0, Ranks::kEveryone);
  if (first == DumpJson(own)) return;
  throw InputError("rank " + std::to_string(ranks.rank()) + " has another '" +
                   model.path().string() +
                   "' than rank 0, or another version of this program; copy them to all machines");
}

nlohmann::ordered_json SourceFiles(const Model& model, const std::string& sha256) {
  nlohmann::ordered_json files;
  files[model.path().filename().string()]["sha256"] = sha256;
  for (const std::string& name : model.ExternalFiles()) {
    const auto path = model.DataFile(name);
    files[name] = {{"bytes", SizeOf(path)}, {"written", TimeOf(path)}};
  }
  return files;
}

}  // namespace ptq
