// Whether a result is still what the run wrote, and whether it works.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace ptq {

struct VerificationRequest {
  std::filesystem::path result;  ///< a directory that run or bundle wrote, or one model file of run
  std::filesystem::path source;  ///< the model it was made of; empty: not compared
  bool run = true;               ///< each model on a made-up sample
};

/// One thing that was looked at.
struct VerificationCheck {
  std::string name;                   ///< "metadata", "files", "operators of model.onnx"
  std::string what;                   ///< what was found, for people
  std::vector<std::string> problems;  ///< why it fails; empty: it does not
  std::string skipped;                ///< why it was not looked at; empty: it was
};

struct VerificationReport {
  std::filesystem::path result;
  std::vector<VerificationCheck> checks;
  [[nodiscard]] bool passed() const;
};

/// Compares a result with its metadata and runs it: the metadata with their schema, every file with
/// its size and SHA-256, the models' operators with their opsets, their scales and stored notes
/// with what is possible, their outputs for a made-up sample with numbers; with a source its
/// hashes, too. What fails is in the report. Throws InputError when there is no result of this
/// program, Interrupted.
[[nodiscard]] VerificationReport VerifyResult(const VerificationRequest& request);

}  // namespace ptq
