// quantize version, and the list of libraries that the program runs with.
#include "ptq/cli/version.h"

#include <Eigen/Core>
#include <iostream>
#include <utility>
#include <vector>

#include "json_output.h"
#include <CLI/CLI.hpp>
#include <cblas.h>
#include <google/protobuf/stubs/common.h>
#include <nlohmann/json.hpp>
#include <onnx/onnx_pb.h>
#include <openssl/crypto.h>
#include <spdlog/version.h>
#include <tbb/version.h>
#include <zip.h>

#include "ptq/base/ranks.h"
#include "ptq/cli/command.h"
#include "ptq/text/tokenizer.h"

namespace ptq {

namespace {

/// Names and versions, in the order in which they are shown.
std::vector<std::pair<std::string, std::string>> Libraries() {
  const TextLibraryVersions text = GetTextLibraryVersions();
  const auto dotted = [](int a, int b, int c) {
    return std::to_string(a) + '.' + std::to_string(b) + '.' + std::to_string(c);
  };
  const auto or_none = [](const std::string& version) {
    return version.empty() ? std::string("not in this build") : version;
  };
  return {
      {"onnx IR", "up to " + std::to_string(onnx::IR_VERSION) + " known, newer fields kept"},
      {"protobuf", google::protobuf::internal::VersionString(GOOGLE_PROTOBUF_VERSION)},
      {"Eigen", dotted(EIGEN_WORLD_VERSION, EIGEN_MAJOR_VERSION, EIGEN_MINOR_VERSION)},
      {"BLAS", openblas_get_config()},
      {"oneTBB", TBB_runtime_version()},
      {"CLI11", CLI11_VERSION},
      {"spdlog", dotted(SPDLOG_VER_MAJOR, SPDLOG_VER_MINOR, SPDLOG_VER_PATCH)},
      {"nlohmann", dotted(NLOHMANN_JSON_VERSION_MAJOR, NLOHMANN_JSON_VERSION_MINOR,
                          NLOHMANN_JSON_VERSION_PATCH)},
      {"OpenSSL", OpenSSL_version(OPENSSL_VERSION_STRING)},
      {"libzip", zip_libzip_version()},
      {"MPI", or_none(Ranks::Library())},
      {"tokenizers", or_none(text.tokenizers)},
      {"minijinja", or_none(text.minijinja)},
  };
}

class VersionCommand : public Command {
 public:
  explicit VersionCommand(CLI::App& app) {
    app.add_flag("--json", json_, "Print JSON instead of text")->group("Output");
  }

  ExitCode Run(const GlobalOptions&) override {
    if (!json_) {
      std::cout << VersionText() << '\n';
      return ExitCode::kDone;
    }
    nlohmann::ordered_json json;
    json["version"] = VersionNumber();
    for (const auto& [name, version] : Libraries()) json["libraries"][name] = version;
    PrintJson("version", json);
    return ExitCode::kDone;
  }

 private:
  bool json_ = false;
};

}  // namespace

std::string VersionNumber() { return PTQ_VERSION; }

std::string VersionText() {
  std::string text = "quantize " + VersionNumber();
  for (const auto& [name, version] : Libraries()) {
    text += "\n  " + name + std::string(13 - name.size(), ' ') + version;
  }
  return text;
}

std::unique_ptr<Command> MakeVersionCommand(CLI::App& app) {
  return std::make_unique<VersionCommand>(app);
}

}  // namespace ptq
