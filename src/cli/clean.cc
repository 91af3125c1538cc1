// quantize clean: lists what interrupted runs have left in a directory, and removes it.
#include <iostream>

#include "json_output.h"
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "ptq/base/format.h"
#include "ptq/cli/command.h"
#include "ptq/pipeline/leftovers.h"
#include "ptq/report/table.h"

namespace ptq {
namespace {

class CleanCommand : public Command {
 public:
  explicit CleanCommand(CLI::App& app) {
    app.add_option("directory", directory_,
                   "Directory that results were written in, or the destination of a run")
        ->required();
    app.add_flag("--dry-run", dry_run_, "List what would be removed; remove nothing");
    app.add_flag("--json", json_, "Print JSON instead of text");
  }

  ExitCode Run(const GlobalOptions& global) override {
    std::vector<Leftover> leftovers = FindLeftovers(directory_);
    std::vector<bool> removed;
    removed.reserve(leftovers.size());
    for (Leftover& leftover : leftovers) {
      removed.push_back(!dry_run_ && RemoveLeftover(leftover));
    }
    if (global.quiet && !json_ && !dry_run_) return ExitCode::kDone;
    if (json_) {
      PrintJson("clean", ToJson(leftovers, removed));
    } else {
      std::cout << ToText(leftovers, removed);
    }
    return ExitCode::kDone;
  }

 private:
  [[nodiscard]] std::string ToText(const std::vector<Leftover>& leftovers,
                                   const std::vector<bool>& removed) const {
    if (leftovers.empty()) return "nothing was left in '" + directory_.string() + "'\n";
    using Align = TextTable::Align;
    TextTable table(
        {{"leftover"}, {"what"}, {"size", Align::kRight}, {"age", Align::kRight}, {""}});
    for (size_t i = 0; i < leftovers.size(); ++i) {
      const Leftover& one = leftovers[i];
      const std::string becomes = removed[i]         ? "removed"
                                  : one.kept.empty() ? "would be removed"
                                                     : "kept: " + one.kept;
      table.AddRow({one.path.string(), one.what, FormatBytes(one.bytes),
                    FormatSeconds(one.age_seconds), becomes});
    }
    return table.Text();
  }

  [[nodiscard]] nlohmann::ordered_json ToJson(const std::vector<Leftover>& leftovers,
                                              const std::vector<bool>& removed) const {
    nlohmann::ordered_json json = {{"directory", directory_.string()}, {"dry_run", dry_run_}};
    auto& list = json["leftovers"] = nlohmann::ordered_json::array();
    for (size_t i = 0; i < leftovers.size(); ++i) {
      const Leftover& one = leftovers[i];
      list.push_back({{"path", one.path.string()},
                      {"what", one.what},
                      {"bytes", one.bytes},
                      {"age_seconds", one.age_seconds},
                      {"removed", bool(removed[i])},
                      {"kept", one.kept}});
    }
    return json;
  }

  std::filesystem::path directory_;
  bool dry_run_ = false;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeCleanCommand(CLI::App& app) {
  return std::make_unique<CleanCommand>(app);
}

}  // namespace ptq
