// Declares where metrics, test reports and summaries go.
#include "ci_options.h"

#include <cstdlib>

#include "values.h"

namespace ptq {

void AddCiOptions(CLI::App& app, CiFiles& files) {
  app.option_defaults()->group("Continuous integration");
  app.add_option("--metrics", files.metrics,
                 "Also write what became of it as metrics of Prometheus, for a textfile collector; "
                 "when it fails, too")
      ->type_name(kFileType);
  app.add_option("--junit", files.junit,
                 "Also write a test report in JUnit's XML: a case for each job, or for the run and "
                 "each gate")
      ->type_name(kFileType);
  app.add_flag_callback(
      "--github-summary",
      [&files] {
        const char* const file = std::getenv("GITHUB_STEP_SUMMARY");
        if (file == nullptr || *file == '\0') {
          throw UsageError(
              "--github-summary: GITHUB_STEP_SUMMARY names no file, as it does in a step of GitHub "
              "Actions");
        }
        files.github_summary = file;
      },
      "Also add a summary to the step's page of GitHub Actions");
}

}  // namespace ptq
