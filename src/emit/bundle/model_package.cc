// The layout of ONNX Runtime's model packages, schema 1.0.
#include <system_error>
#include <utility>

#include <nlohmann/json.hpp>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/hash.h"
#include "ptq/base/json.h"
#include "ptq/emit/bundle_writer.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

void Move(const fs::path& directory, const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::create_directories((directory / to).parent_path(), error);
  if (!error) fs::rename(directory / from, directory / to, error);
  if (error) {
    throw OutputError("cannot write '" + (directory / to).string() + "': " + error.message());
  }
}

/// The hash of a directory that holds one file, as the format defines it: of a line for each file,
/// with the hash of its bytes and its name.
std::string AssetHash(const fs::path& file) {
  return Sha256Hex(Sha256OfFile(file) + "  " + file.filename().string() + "\n");
}

/// A component that has one variant, for the processor: a component is chosen by its name, a
/// variant by the runtime.
Json Component(const std::string& name, const std::string& asset) {
  Json ort = {{"model_file", "model.onnx"}};
  if (!asset.empty()) {
    ort["session_options"] = {
        {"session.model_external_initializers_file_folder_path", "sha256:" + asset}};
  }
  return {{"component_name", name},
          {"variants",
           {{"cpu",
             {{"variant_directory", name},
              {"ep", "CPUExecutionProvider"},
              {"device", "cpu"},
              {"executor_info", {{"ort", std::move(ort)}}}}}}}};
}

}  // namespace

std::vector<fs::path> ArrangePackage(const fs::path& directory,
                                     const std::array<std::string, 2>& names,
                                     const std::string& package_name, bool has_data) {
  std::vector<fs::path> files = {"manifest.json"};
  std::string asset;
  if (has_data) {
    asset = AssetHash(directory / BundleWriter::DataFile());
    files.push_back(fs::path("shared_assets") / ("sha256-" + asset) / BundleWriter::DataFile());
    Move(directory, BundleWriter::DataFile(), files.back());
  }
  Json components = Json::object();
  for (const std::string& name : names) {
    files.push_back(fs::path(name) / "model.onnx");
    Move(directory, "model_" + name + ".onnx", files.back());
    components[name] = Component(name, asset);
  }
  const Json manifest = {{"schema_version", "1.0"},
                         {"package_name", package_name},
                         {"layout", "portable"},
                         {"components", std::move(components)}};
  WriteFile(directory / "manifest.json", DumpJson(manifest, 2) + "\n");
  return files;
}

}  // namespace ptq
