// quantize operators: lists what the executor runs, also as docs/supported-operators.md.
#include <algorithm>
#include <iostream>
#include <string>
#include <tuple>
#include <vector>

#include "json_output.h"
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "ptq/cli/command.h"
#include "ptq/ops/kernel.h"
#include "ptq/report/table.h"

namespace ptq {
namespace {

class OperatorsCommand : public Command {
 public:
  explicit OperatorsCommand(CLI::App& app) {
    app.option_defaults()->group("Output");
    app.add_flag("--markdown", markdown_, "Print the page docs/supported-operators.md");
    app.add_flag("--json", json_, "Print JSON instead of text");
  }

  ExitCode Run(const GlobalOptions&) override {
    std::vector<std::tuple<std::string, std::string, std::string>> rows;
    for (const KernelEntry& entry : KernelEntries()) {
      const std::string until =
          entry.until == kAnyOpset ? " and later" : " to " + std::to_string(entry.until);
      rows.emplace_back(entry.domain.empty() ? "ai.onnx" : std::string(entry.domain),
                        std::string(entry.op_type), std::to_string(entry.since) + until);
    }
    // What has a body is no kernel but run by the executor itself.
    rows.emplace_back("ai.onnx", "Loop", "1 and later");
    rows.emplace_back("ai.onnx", "Scan", "8 and later");
    rows.emplace_back("ai.onnx", "SequenceMap", "17 and later");
    std::ranges::sort(rows);
    if (json_) {
      nlohmann::ordered_json json;
      auto& list = json["operators"] = nlohmann::ordered_json::array();
      for (const auto& [domain, type, opsets] : rows) {
        list.push_back({{"domain", domain}, {"operator", type}, {"opsets", opsets}});
      }
      PrintJson("operators", json);
      return ExitCode::kDone;
    }
    if (markdown_) {
      std::cout << "# Supported operators\n\n"
                   "What the executor runs, from its registry (`quantize operators --markdown` "
                   "prints this page). Of a model with another operator, weights can be rounded to "
                   "nearest (`--method rtn`),\nwhich needs no run; calibration, verification, "
                   "`stats`, `eval` and `forward` need every operator.\n\n"
                   "| domain | operator | opsets |\n|---|---|---|\n";
      for (const auto& [domain, type, opsets] : rows) {
        std::cout << "| " << domain << " | " << type << " | " << opsets << " |\n";
      }
      return ExitCode::kDone;
    }
    TextTable table({{"domain"}, {"operator"}, {"opsets"}});
    for (const auto& [domain, type, opsets] : rows) table.AddRow({domain, type, opsets});
    std::cout << table.Text();
    return ExitCode::kDone;
  }

 private:
  bool markdown_ = false;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeOperatorsCommand(CLI::App& app) {
  return std::make_unique<OperatorsCommand>(app);
}

}  // namespace ptq
