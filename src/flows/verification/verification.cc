// Looks at a result piece by piece; each piece that fails says so, and the others are still looked
// at.
#include "ptq/flows/verification.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <string_view>
#include <utility>

#include "json_schema.h"
#include "made_up_sample.h"
#include "metadata_file.h"
#include "stored_values.h"
#include <nlohmann/json.hpp>

#include "ptq/base/confined_path.h"
#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/format.h"
#include "ptq/base/hash.h"
#include "ptq/base/json.h"
#include "ptq/base/progress.h"
#include "ptq/emit/metadata.h"
#include "ptq/emit/model_check.h"
#include "ptq/emit/written_files.h"
#include "ptq/pipeline/directory.h"

namespace ptq {

std::string_view MetadataSchema();

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// A result, found by its directory or by its model.
// NOLINTNEXTLINE(bugprone-exception-escape): moving JSON does not throw
struct Result {
  fs::path directory;
  fs::path metadata_file;
  Json metadata;
  std::vector<WrittenFile> files;
  std::vector<fs::path> models;  ///< names of those among the files
};

Result FindResult(const fs::path& path) {
  Result result;
  result.metadata_file = MetadataFileOf(path);
  if (result.metadata_file.empty()) {
    throw InputError("'" + path.string() + "' is no result of quantize run: there is no " +
                     kMetadataFileName + " with it");
  }
  result.directory = fs::absolute(result.metadata_file).parent_path();
  result.metadata = ParseJson<Json>(ReadTextFile(result.metadata_file));
  auto files = FilesIn(result.metadata);
  if (!files.has_value()) {
    throw InputError("'" + result.metadata_file.string() + "' is no metadata of a result");
  }
  result.files = std::move(*files);
  for (const WrittenFile& file : result.files) {
    std::error_code error;
    const bool there = file.bytes >= 0 || fs::exists(result.directory / file.name, error);
    if (there && file.name.extension() == ".onnx") result.models.push_back(file.name);
  }
  return result;
}

/// Runs `body`, and takes what the model or its files are found guilty of as a problem.
VerificationCheck Checked(std::string name, const std::function<void(VerificationCheck&)>& body) {
  VerificationCheck check{std::move(name), "", {}, ""};
  try {
    body(check);
  } catch (const UnsupportedError& error) {
    check.skipped = error.what();
  } catch (const InputError& error) {
    check.problems.emplace_back(error.what());
  } catch (const QualityError& error) {
    check.problems.emplace_back(error.what());
  }
  return check;
}

VerificationCheck CheckMetadata(const Result& result) {
  return Checked("metadata", [&](VerificationCheck& check) {
    const Json version = result.metadata.value("schema_version", Json());
    check.what = "schema " + version.dump();
    if (version != kMetadataSchemaVersion) {
      check.skipped =
          "written under schema " + version.dump() + ", this program has " + kMetadataSchemaVersion;
      return;
    }
    check.problems = SchemaErrors(ParseJson<Json>(std::string(MetadataSchema())), result.metadata);
  });
}

void CheckFile(const Result& result, const WrittenFile& file, VerificationCheck& check) {
  const fs::path path = ConfinedFile(result.directory, file.name.string(), "file of the result");
  const std::string name = "'" + file.name.generic_string() + "' ";
  std::error_code error;
  const auto bytes = static_cast<int64_t>(fs::file_size(path, error));
  if (error) {
    check.problems.push_back(name + "is missing");
  } else if (bytes != file.bytes) {
    check.problems.push_back(name + "has " + std::to_string(bytes) + " bytes, written were " +
                             std::to_string(file.bytes));
  } else if (!file.sha256.empty() && Sha256OfFile(path) != file.sha256) {
    check.problems.push_back(name + "holds other bytes than were written (SHA-256)");
  }
}

VerificationCheck CheckFiles(const Result& result) {
  return Checked("files", [&](VerificationCheck& check) {
    int64_t bytes = 0, hashed = 0, known = 0;
    for (const WrittenFile& file : result.files) {
      if (file.bytes < 0) continue;  // the metadata, and those of results without a list
      ++known;
      bytes += file.bytes;
      hashed += file.sha256.empty() ? 0 : 1;
      CheckFile(result, file, check);
    }
    if (known == 0) check.skipped = "the metadata list none";
    check.what = std::to_string(known) + " files, " + FormatBytes(bytes) + ", " +
                 std::to_string(hashed) + " with a hash";
  });
}

/// The metadata of one model of the result; null when they do not tell of it.
Json MetadataOf(const Result& result, const fs::path& name) {
  const Json models = MemberOrNull(result.metadata, "models");
  if (!models.is_array()) return result.metadata;
  for (const Json& part : models) {
    if (MemberOrNull(part, "file") == name.generic_string()) return part;
  }
  return nullptr;
}

/// The model notes in itself what it was made of.
void CompareNote(const Model& model, const Json& source, VerificationCheck& check) {
  const Json hash = MemberOrNull(source, "sha256");
  for (const auto& entry : model.proto().metadata_props()) {
    if (entry.key() != "quantization.source_sha256" || !hash.is_string()) continue;
    if (hash != entry.value()) {
      check.problems.emplace_back("the model notes another source than the metadata");
    }
  }
}

std::string OpsetsText(const Model& model) {
  std::string text;
  for (const auto& import : model.proto().opset_import()) {
    text += (text.empty() ? "" : ", ") + (import.domain().empty() ? "ai.onnx" : import.domain()) +
            " " + std::to_string(import.version());
  }
  return text;
}

VerificationCheck CheckOperators(const Result& result, const fs::path& name,
                                 const std::optional<Model>& source) {
  return Checked("operators of " + name.generic_string(), [&](VerificationCheck& check) {
    const fs::path path = result.directory / name;
    const Model model = Model::LoadUnchanged(path);
    check.what = OpsetsText(model);
    CompareNote(model, MemberOrNull(MetadataOf(result, name), "source"), check);
    if (source.has_value()) return CheckLoads(path, source->proto());
    try {
      CheckLoads(path);
    } catch (const QualityError& error) {
      check.skipped = std::string(error.what()) + "; it may be so in the source: give --source";
    }
  });
}

VerificationCheck CheckScales(const Result& result, const fs::path& name) {
  return Checked("scales of " + name.generic_string(), [&](VerificationCheck& check) {
    StoredValues found = CheckStoredValues(result.directory / name);
    check.what = std::to_string(found.scales) + " tensors";
    check.problems = std::move(found.problems);
  });
}

bool HasNaN(const Tensor& tensor) {
  if (!IsFloat(tensor.dtype())) return false;
  const Tensor values = tensor.Cast(DType::kFloat32);
  return std::ranges::any_of(values.data<float>(), [](float value) { return std::isnan(value); });
}

VerificationCheck CheckRun(const Result& result, const fs::path& name) {
  return Checked("run of " + name.generic_string(), [&](VerificationCheck& check) {
    const Runner runner(result.directory / name);
    const Arrays outputs = RunOnSample(runner, SampleFor(runner));
    check.what = std::to_string(outputs.size()) + " outputs for a made-up sample";
    for (const auto& [output, tensor] : outputs) {
      if (HasNaN(tensor)) check.problems.push_back("output '" + output + "' is not a number");
    }
  });
}

/// Which of the given sources a model of the result was made of, by the name of its file.
std::optional<Model> SourceOf(const fs::path& source, const Json& described) {
  if (source.empty() || !described.is_object()) return std::nullopt;
  const std::vector<fs::path> files = ModelFiles(source).files;
  for (const fs::path& file : files) {
    if (files.size() == 1 || MemberOrNull(described, "file") == file.filename().string()) {
      return Model::LoadUnchanged(file);
    }
  }
  throw InputError("'" + source.string() + "' has no '" +
                   MemberOrNull(described, "file").get<std::string>() + "'");
}

VerificationCheck CheckSource(const fs::path& name, const Json& described, const Model& source) {
  return Checked("source of " + name.generic_string(), [&](VerificationCheck& check) {
    SourceDescription now = DescribeSource(source);
    now.Enter(FileHashes(DataFilesOf(source)).Take());
    check.what = now.file + ", " + std::to_string(now.data_files.size()) + " data files";
    if (MemberOrNull(described, "sha256") != now.sha256) {
      check.problems.push_back("'" + now.file + "' is another than the result was made of");
    }
    for (const Json& file : described.value("data_files", Json::array())) {
      for (const WrittenFile& data : now.data_files) {
        const bool same = file.value("sha256", data.sha256) == data.sha256;
        if (MemberOrNull(file, "file") == data.name.generic_string() && !same) {
          check.problems.push_back("'" + data.name.generic_string() +
                                   "' is another than the result was made of");
        }
      }
    }
  });
}

}  // namespace

bool VerificationReport::passed() const {
  return std::ranges::all_of(checks, [](const auto& check) { return check.problems.empty(); });
}

VerificationReport VerifyResult(const VerificationRequest& request) {
  const Result result = FindResult(request.result);
  VerificationReport report{request.result, {CheckMetadata(result), CheckFiles(result)}};
  Progress progress("verifying", std::ssize(result.models));
  for (const fs::path& name : result.models) {
    const Json described = MemberOrNull(MetadataOf(result, name), "source");
    const std::optional<Model> source = SourceOf(request.source, described);
    if (source.has_value()) report.checks.push_back(CheckSource(name, described, *source));
    report.checks.push_back(CheckOperators(result, name, source));
    report.checks.push_back(CheckScales(result, name));
    if (request.run) report.checks.push_back(CheckRun(result, name));
    progress.Advance();
  }
  return report;
}

}  // namespace ptq
