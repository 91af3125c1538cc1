// Drafts the model with its metadata, once without what calibration may add and once with it.
#include "predict_files.h"

#include <string>

#include "byte_account.h"
#include "describe_run.h"

#include "ptq/base/format.h"
#include "ptq/emit/metadata.h"
#include "ptq/emit/output_draft.h"
#include "ptq/transform/tensor_store.h"

namespace ptq {
namespace {

/// What browsers hold in one buffer for certain.
constexpr int64_t kBrowserBuffer = int64_t{2} << 30;

std::vector<WrittenFile> FilesWith(const OutputFiles& files, const FileSizes& sizes) {
  std::vector<WrittenFile> listed = {{files.model, sizes.model, ""}};
  for (size_t i = 0; i < sizes.data.size(); ++i) {
    listed.push_back({DataFile(files.data, i), sizes.data[i], ""});
  }
  return listed;
}

/// Why files are larger than was asked for: nothing is cut that has to be read in one piece.
void WarnOfLargeFiles(int64_t most, RunReport& report) {
  for (const WrittenFile& file : report.predicted_files) {
    if (most == 0 || file.bytes <= most) continue;
    const bool is_model = &file == report.predicted_files.data();
    std::string text = "'" + file.name.generic_string() + "' has " + FormatBytes(file.bytes) +
                       ", more than --max-file-size " + FormatBytes(most) + ": " +
                       (is_model ? "the graph and its small constants stay in one file"
                                 : "it holds a single tensor, and none is split");
    if (file.bytes >= kBrowserBuffer) text += "; browsers may refuse buffers of 2 GiB and more";
    report.warnings.push_back(std::move(text));
  }
}

}  // namespace

void PredictFiles(const Source& source, const Recipe& recipe, const RunContext& context,
                  RunReport& report) {
  constexpr size_t kSha256Digits = 64;
  SourceDescription description;  // of which the model's own metadata has nothing but the hash
  description.sha256.assign(kSha256Digits, '0');
  const auto properties =
      MetadataProps(DescribeRun(recipe, source.graph, description, nullptr, report));
  const OutputFiles files = FilesOf(recipe, source, report.plan, context);
  const auto draft = [&](Undecided undecided) {
    return DraftFiles(source.graph, report.plan, files, recipe, properties, undecided);
  };
  report.predicted = draft(Undecided::kNothing);
  report.predicted_most =
      NeedsStatistics(recipe) ? draft(Undecided::kEverything) : report.predicted;
  report.predicted_files = FilesWith(files, report.predicted);
  WarnOfLargeFiles(recipe.max_file_size, report);
  AccountFor(source, recipe, report);
}

}  // namespace ptq
