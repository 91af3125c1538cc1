#include "ptq/cli/version.h"

#include <Eigen/Core>
#include <sstream>

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
#include "ptq/text/tokenizer.h"

namespace ptq {

std::string VersionText() {
  const TextLibraryVersions text_libraries = GetTextLibraryVersions();
  const auto or_none = [](const std::string& version) {
    return version.empty() ? std::string("not in this build") : version;
  };
  std::ostringstream text;
  text << "quantize " << PTQ_VERSION << '\n'
       << "  onnx IR      up to " << onnx::IR_VERSION << " known, newer fields kept\n"
       << "  protobuf     " << google::protobuf::internal::VersionString(GOOGLE_PROTOBUF_VERSION)
       << '\n'
       << "  Eigen        " << EIGEN_WORLD_VERSION << '.' << EIGEN_MAJOR_VERSION << '.'
       << EIGEN_MINOR_VERSION << '\n'
       << "  BLAS         " << openblas_get_config() << '\n'
       << "  oneTBB       " << TBB_runtime_version() << '\n'
       << "  CLI11        " << CLI11_VERSION << '\n'
       << "  spdlog       " << SPDLOG_VER_MAJOR << '.' << SPDLOG_VER_MINOR << '.'
       << SPDLOG_VER_PATCH << '\n'
       << "  nlohmann     " << NLOHMANN_JSON_VERSION_MAJOR << '.' << NLOHMANN_JSON_VERSION_MINOR
       << '.' << NLOHMANN_JSON_VERSION_PATCH << '\n'
       << "  OpenSSL      " << OpenSSL_version(OPENSSL_VERSION_STRING) << '\n'
       << "  libzip       " << zip_libzip_version() << '\n'
       << "  MPI          " << or_none(Ranks::Library()) << '\n'
       << "  tokenizers   " << or_none(text_libraries.tokenizers) << '\n'
       << "  minijinja    " << or_none(text_libraries.minijinja);
  return text.str();
}

}  // namespace ptq
