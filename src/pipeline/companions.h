// The models of one directory, each of which may make inputs of another.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "feed_samples.h"
#include "run_context.h"
#include "source.h"

#include "ptq/pipeline/recipe.h"
#include "ptq/runtime/feeds.h"

namespace ptq {

class Companions {
 public:
  /// `files`: the models. Reads the recipe's calibration file when it holds complete inputs.
  Companions(std::vector<std::filesystem::path> files, const Recipe& recipe);
  ~Companions();

  [[nodiscard]] size_t size() const { return files_.size(); }
  [[nodiscard]] const std::filesystem::path& file(size_t model) const { return files_[model]; }
  /// A model, opened when it is asked for first.
  [[nodiscard]] Source& source(size_t model);

  /// How the inputs of a model are made from token ids by way of the others: a decoder gets
  /// encoder_hidden_states that the encoder gives for the ids and the ids themselves, moved by one
  /// place behind decoder_start_token_id; a decoder with a past gets the last id, and as past what
  /// the decoder without one has left; inputs_embeds come from the model that makes them.
  /// Throws UnsupportedError, when it is called, for what nobody makes.
  [[nodiscard]] InputSource InputsOf(size_t model);
  /// What makes them, for people: "encoder_model.onnx"; empty when none is needed.
  [[nodiscard]] std::vector<std::string> MakersOf(size_t model);
  /// The complete inputs that the user gives for the model, or for the encoder in front of it; null
  /// when they are not for it.
  [[nodiscard]] const FeedSamples* FeedsOf(size_t model);
  /// Rows of the smallest table that the token ids choose from, in the model or in those that make
  /// its inputs; 0 where the graphs do not show it.
  [[nodiscard]] int64_t VocabularyOf(size_t model);

 private:
  struct Part;
  /// What another model contributes.
  struct Makers {
    int encoder = -1;
    int embedder = -1;
    int past = -1;
  };
  [[nodiscard]] Makers FindMakers(size_t model);
  [[nodiscard]] bool HasInput(size_t model, const std::string& name);
  [[nodiscard]] int FindOutput(size_t model, const std::string& name);
  [[nodiscard]] std::map<std::string, Tensor> Make(size_t model, const std::vector<int64_t>& ids,
                                                   int64_t batch, int64_t length);
  void AddPast(size_t model, const std::map<std::string, Tensor>& outputs,
               std::map<std::string, Tensor>& given);
  [[nodiscard]] std::map<std::string, Tensor> RunPart(size_t model, const std::vector<int64_t>& ids,
                                                      int64_t batch, int64_t length);

  std::vector<std::filesystem::path> files_;
  const Recipe& recipe_;
  std::optional<FeedSamples> feeds_;
  std::vector<std::unique_ptr<Source>> sources_;
  std::vector<std::unique_ptr<Feeder>> feeders_;
  int64_t start_token_ = 0;
};

/// How a model of `companions` is run and calibrated.
[[nodiscard]] RunContext ContextOf(Companions& companions, size_t model);

}  // namespace ptq
