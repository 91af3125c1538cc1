// Whether a finished result is what a run would make once more.
#pragma once

#include <ctime>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "check_destination.h"
#include "run_context.h"
#include <nlohmann/json.hpp>

#include "ptq/calibrate/source.h"
#include "ptq/pipeline/directory.h"
#include "ptq/pipeline/run.h"
#include "ptq/plan/recipe.h"

namespace ptq {

/// Of a rehearsal.
inline constexpr char kUpToDateNote[] =
    "up to date: a run leaves what is there as it is (--force makes it again)";

/// Whether a result has the model card that the options ask for, if they do.
[[nodiscard]] bool HasCard(const std::filesystem::path& destination, const RunOptions& options);

/// A result of this program, by its metadata.
class FinishedResult {
 public:
  /// What lies at `destination`; nothing when that is not a result of this program.
  [[nodiscard]] static std::optional<FinishedResult> Find(const std::filesystem::path& destination);
  /// The same of what a metadata file describes, beside it.
  [[nodiscard]] static std::optional<FinishedResult> FindBeside(
      const std::filesystem::path& metadata_file);

  [[nodiscard]] const std::filesystem::path& directory() const { return directory_; }

  [[nodiscard]] const nlohmann::ordered_json& metadata() const { return metadata_; }

  /// What of the program and the recipe is not what it was; in words. These take no time.
  [[nodiscard]] std::vector<std::string> RecipeChanges(const Recipe& recipe) const;
  /// The same of one model: its files, its samples (which are read), and what was written for it.
  /// `part` is what the metadata says of it, `written` its file below the destination. The .onnx
  /// file is known by its hash; external data by sizes, and that nobody has written or moved it
  /// since. Throws Interrupted.
  [[nodiscard]] std::vector<std::string> ModelChanges(const nlohmann::ordered_json& part,
                                                      const std::filesystem::path& written,
                                                      const Recipe& recipe, const Source& source,
                                                      const RunContext& context) const;
  /// The same of the files beside the models, in the directory that they are copied from.
  [[nodiscard]] std::vector<std::string> SidecarChanges(const std::filesystem::path& root) const;

 private:
  FinishedResult(std::filesystem::path directory, nlohmann::ordered_json metadata,
                 std::timespec written)
      : directory_(std::move(directory)), metadata_(std::move(metadata)), written_(written) {}
  void AddIfChanged(const std::filesystem::path& file, const std::string& name,
                    std::vector<std::string>& changes) const;
  void AddMissing(const std::filesystem::path& model, std::vector<std::string>& changes) const;

  std::filesystem::path directory_;
  nlohmann::ordered_json metadata_;
  std::timespec written_;  ///< when its last file was
};

/// CheckDestination, but for a result of this program: what is to become of one is decided when it
/// is known whether it is up to date.
void CheckDestinationOrResult(const Recipe& recipe, const std::filesystem::path& destination,
                              Touch touch);

/// Whether the destination of a planned run, or its earlier file if it has one, is its result
/// already; then the report says so.
/// Throws OutputError when it holds another one that must not be replaced.
[[nodiscard]] bool IsUpToDate(const Recipe& recipe, const Source& source, const RunContext& context,
                              const std::filesystem::path& earlier_file, RunReport& report);

/// The same of a directory of models; its report when it is up to date.
[[nodiscard]] std::optional<DirectoryReport> FindUpToDateDirectory(
    const Recipe& recipe, const std::filesystem::path& destination);

}  // namespace ptq
