// The models of one directory, each of which may make inputs of another.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "ptq/calibrate/feed_samples.h"
#include "ptq/calibrate/model_inputs.h"
#include "ptq/calibrate/source.h"
#include "ptq/plan/recipe.h"
#include "ptq/runtime/feeds.h"
#include "ptq/runtime/loaded_model.h"

namespace ptq {

struct CompanionOptions {
  std::vector<std::filesystem::path> samples = {};  ///< one may hold complete inputs
  Codes codes = Codes::kRefuse;
  /// The weights of what makes inputs are held as float32 from their first use on.
  bool keep_weights = false;
};

/// Not thread-safe, but for what makes inputs when it has made those of the same model before.
class Companions {
 public:
  /// `files`: the models. Reads the file of samples that holds complete inputs, if any; throws
  /// UsageError when it is not the only one.
  Companions(std::vector<std::filesystem::path> files, const CompanionOptions& options);
  /// With the recipe's calibration files.
  Companions(std::vector<std::filesystem::path> files, const Recipe& recipe);
  ~Companions();

  [[nodiscard]] size_t size() const { return files_.size(); }
  [[nodiscard]] const std::filesystem::path& file(size_t model) const { return files_[model]; }
  /// A model, opened when it is asked for first.
  [[nodiscard]] Source& source(size_t model);

  /// How the inputs of a model are made from token ids by way of the others: what another model
  /// gives out under the name of an input is passed on (inputs_embeds, per_layer_inputs,
  /// image_features …), as long as models do not wait for each other; a decoder gets
  /// encoder_hidden_states that the encoder gives for the ids, and the ids themselves moved by one
  /// place behind decoder_start_token_id; a decoder with a past gets the last id, and as past what
  /// the decoder without one has left. Throws UnsupportedError, when it is called, for what nobody
  /// makes.
  [[nodiscard]] InputSource InputsOf(size_t model);
  /// The inputs, by name, for one text, with what the model itself reads behind an encoder (or as
  /// decoder_input_ids, where it holds both) made of `target` instead of the text; `target` may be
  /// empty.
  [[nodiscard]] std::map<std::string, Tensor> InputsFor(size_t model,
                                                        const std::vector<int64_t>& ids,
                                                        const std::vector<int64_t>& target);
  /// Whether the model reads tokens of its own side behind an encoder: token t is read to predict
  /// token t + 1, the first behind decoder_start_token_id.
  [[nodiscard]] bool IsBehindEncoder(size_t model) { return MakersFor(model).encoder >= 0; }
  /// Whether it holds an encoder and a decoder: it reads input_ids and decoder_input_ids.
  [[nodiscard]] bool HoldsEncoder(size_t model) {
    return HasInput(model, "input_ids") && HasInput(model, "decoder_input_ids");
  }
  /// Whether it reads the last token alone, behind the past that another model leaves.
  [[nodiscard]] bool IsBehindPast(size_t model) { return MakersFor(model).past >= 0; }
  /// What makes them, for people: "encoder_model.onnx"; empty when none is needed.
  [[nodiscard]] std::vector<std::string> MakersOf(size_t model);
  /// The complete inputs that the user gives for the model, or for one that makes inputs of it;
  /// null when they are not for it.
  [[nodiscard]] const FeedSamples* FeedsOf(size_t model);
  /// Rows of the smallest table that the token ids choose from, in the model or in those that make
  /// its inputs; 0 where the graphs do not show it.
  [[nodiscard]] int64_t VocabularyOf(size_t model);

 private:
  /// An output of another model that is an input of one.
  struct Link {
    size_t maker;
    std::string output;
    std::string input;
  };
  /// What the other models contribute to one.
  struct Makers {
    std::vector<Link> links;
    int encoder = -1;  ///< whose states the links pass on
    int past = -1;     ///< the decoder that has seen the tokens before the last
  };
  /// Token ids on their way through the models, row-major [batch, length].
  struct Tokens {
    std::vector<int64_t> ids;
    int64_t batch = 1;
    int64_t length = 1;
    /// What is read behind an encoder, of one text; empty: the ids, moved by one place.
    std::vector<int64_t> target = {};
    /// Of complete samples: their numbers, one for each row. Then the ids only stand for them
    /// unless `read`: taken from an array of theirs.
    std::vector<int64_t> samples = {};
    bool read = false;
  };
  using Named = std::map<std::string, Tensor>;

  const Makers& MakersFor(size_t model);
  [[nodiscard]] Makers FindMakers(size_t model);
  [[nodiscard]] int FindEncoder(size_t model);
  [[nodiscard]] int FindPast(size_t model);
  [[nodiscard]] std::optional<Link> FindLink(size_t model, const std::string& input);
  [[nodiscard]] std::vector<size_t> ModelsBehind(const Makers& makers) const;
  [[nodiscard]] bool NeedsByName(size_t model, size_t maker, std::set<size_t>& seen);
  [[nodiscard]] bool HasInput(size_t model, const std::string& name);
  [[nodiscard]] bool HasOutput(size_t model, const std::string& name);
  [[nodiscard]] bool IsFed(size_t model, std::set<size_t>& seen);
  [[nodiscard]] Named Make(size_t model, const Tokens& tokens);
  [[nodiscard]] Tokens ReadTokens(size_t model, const Named& given, const Tokens& tokens);
  void AddMade(size_t model, const Tokens& texts, const Tokens& own, Named& given);
  [[nodiscard]] Tokens AddPast(size_t model, const Tokens& tokens, Named& given);
  [[nodiscard]] bool CanBeEmpty(size_t model, const std::string& input);
  [[nodiscard]] Named RunPart(size_t model, const Tokens& tokens);

  std::vector<std::filesystem::path> files_;
  CompanionOptions options_;
  std::optional<FeedSamples> feeds_;
  std::vector<std::unique_ptr<Source>> sources_;
  std::vector<FeedHints> hints_;
  std::vector<std::unique_ptr<LoadedModel>> loaded_;
  std::vector<std::optional<Makers>> makers_;
  int64_t start_token_ = 0;
};

/// How the inputs of a model of `companions` are made.
[[nodiscard]] ModelInputs InputsOf(Companions& companions, size_t model);

}  // namespace ptq
