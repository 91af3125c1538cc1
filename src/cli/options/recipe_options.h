// The options of `quantize run`, declared once; help, configuration files and defaults follow.
#pragma once

#include <cstdint>
#include <filesystem>

#include <CLI/CLI.hpp>

#include "ptq/plan/recipe.h"

namespace ptq {

/// Adds every option of a recipe to `app`; `recipe` must outlive it.
void AddRecipeOptions(CLI::App& app, Recipe& recipe);

/// The same but for the source and the destination: what is done to a model.
void AddRecipeSettings(CLI::App& app, Recipe& recipe);

/// Adds --config, which the parser reads (words.h).
void AddConfigOption(CLI::App& app);

/// Sets what the method brings along (TakeMethodDefaults), but for options that are given; called
/// when all are read.
void CompleteRecipe(const CLI::App& app, Recipe& recipe);

/// Adds --seed.
void AddSeedOption(CLI::App& app, uint64_t& seed);

/// Adds --tokenizer.
void AddTokenizerOption(CLI::App& app, std::filesystem::path& tokenizer);

/// Adds --memory-budget.
void AddMemoryOption(CLI::App& app, int64_t& budget);

/// Adds --report; CheckReportFile and WriteReport (ptq/report/report.h) are the command's to call.
void AddReportOption(CLI::App& app, std::filesystem::path& file);

/// Adds --requantize.
void AddRequantizeOption(CLI::App& app, bool& requantize);

/// Adds --calib and what belongs to it.
void AddCalibrationOptions(CLI::App& app, CalibrationOptions& options);

}  // namespace ptq
