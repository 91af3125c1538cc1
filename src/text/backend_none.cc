// The build without the Rust library (PTQ_TEXT=OFF): calibration takes token ids only.
#include "backend.h"

#include "ptq/base/error.h"

namespace ptq::text_backend {

std::unique_ptr<const Handle> Handle::Create(std::string_view /*json*/) {
  throw UsageError(
      "this build has no tokenizer (PTQ_TEXT=OFF): give token ids as .npz or .npy, or build with "
      "-DPTQ_TEXT=ON");
}

std::unique_ptr<ParquetTable> ParquetTable::Open(std::string_view /*path*/) {
  throw UsageError(
      "this build reads no Parquet files (PTQ_TEXT=OFF): give token ids as .npz or .npy, or build "
      "with -DPTQ_TEXT=ON");
}

std::string UnpackZstd(std::string_view /*packed*/, uint64_t /*most*/) {
  throw UsageError("this build does not unpack Zstandard (PTQ_TEXT=OFF): unpack it with zstd -d");
}

std::string LanguageCode(std::string_view /*name*/) {
  throw UsageError("this build does not look at texts (PTQ_TEXT=OFF): build with -DPTQ_TEXT=ON");
}

std::string DetectLanguage(std::string_view /*text*/) { return LanguageCode(""); }
std::string Mask(std::string_view /*text*/, int64_t& /*count*/) { return LanguageCode(""); }

std::unique_ptr<const Pattern> Pattern::Create(std::string_view /*form*/) {
  (void)LanguageCode("");
  return nullptr;
}

std::string RenderChat(std::string_view /*chat_template*/, std::string_view /*context_json*/,
                       int64_t /*now*/) {
  throw UsageError(
      "this build has no chat templates (PTQ_TEXT=OFF): give token ids as .npz or .npy, or build "
      "with -DPTQ_TEXT=ON");
}

std::string RenderTemplate(std::string_view /*templates_json*/, std::string_view /*name*/,
                           std::string_view /*context_json*/) {
  throw UsageError(
      "this build has no templates (PTQ_TEXT=OFF), which reports and model cards are made of; "
      "build "
      "with -DPTQ_TEXT=ON");
}

TextLibraryVersions Versions() { return {}; }

}  // namespace ptq::text_backend
