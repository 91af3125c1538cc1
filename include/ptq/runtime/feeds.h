// Makes the inputs that a model needs from token ids alone.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "ptq/model/graph.h"
#include "ptq/runtime/executor.h"

namespace ptq {

/// Sizes that the graph leaves open and the model's configuration tells; 0 where unknown.
struct FeedHints {
  int64_t layers = 0;
  int64_t kv_heads = 0;
  int64_t head_size = 0;
  int64_t pad_token = 0;
};

/// Reads num_key_value_heads, head_dim … from config.json, or genai_config.json, next to the
/// model, or above its folder `onnx`.
[[nodiscard]] FeedHints ReadFeedHints(const std::filesystem::path& model_directory);

/// Inputs by name that come from elsewhere than the ids (row-major [batch, length]) alone, such as
/// from the outputs of another model that has read them.
using InputSource = std::function<std::map<std::string, Tensor>(const std::vector<int64_t>& ids,
                                                                int64_t batch, int64_t length)>;

/// What a model fixes of the token ids that it reads, [batch, length]; 0 where it is open.
struct TokenShape {
  int64_t batch = 0;
  int64_t length = 0;
};

[[nodiscard]] TokenShape FixedTokenShape(const Graph& graph);

/// The graph's inputs for a batch of token ids, row-major [batch, length]; those in `given`, by
/// name, as they are. What Feeder does, without trying it first.
[[nodiscard]] Values MakeInputs(const Graph& graph, const FeedHints& hints,
                                std::map<std::string, Tensor> given,
                                const std::vector<int64_t>& ids, int64_t batch, int64_t length);

/// Whether the graph reads batches whose rows are padded: a mask, no caches, open dimensions.
[[nodiscard]] bool ReadsPadding(const Graph& graph);

/// An input that takes what the model has handed out before, and the output that it is.
struct Continuation {
  ValueId past = kNoValue;
  ValueId present = kNoValue;
};

/// Those of a decoder that goes on behind a text it has read, by the names that exporters give:
/// past_key_values.0.key and present.0.key. Throws UnsupportedError for a graph without such
/// inputs, for an input without such an output, and for one that reads a text only as a whole
/// (fixed dimensions, masks of other than two).
[[nodiscard]] std::vector<Continuation> Continuations(const Graph& graph);

/// Turns a batch of token ids into the graph's inputs: input_ids (and decoder_input_ids),
/// attention_mask of ones, position_ids 0…T−1, token_type_ids 0, zero-length past_key_values,
/// use_cache_branch false, other integers 0. Fixed dimensions are kept: ids are cut or repeated,
/// a cache of fixed length is zeros that the mask hides, and so are states (past_conv …) whose size
/// is fixed but for the batch. Throws UnsupportedError naming an
/// input that it cannot make.
class Feeder {
 public:
  /// What `source` gives is taken as it is; it may be empty.
  Feeder(const Graph& graph, FeedHints hints, InputSource source = {});
  /// `ids`: row-major [batch, length].
  [[nodiscard]] Values Make(const std::vector<int64_t>& ids, int64_t batch, int64_t length) const;
  /// The same for a graph that ReadsPadding; the mask hides all but the first `real`[b] ids of a
  /// row.
  [[nodiscard]] Values MakePadded(const std::vector<int64_t>& ids, int64_t batch, int64_t length,
                                  const std::vector<int64_t>& real) const;
  /// The same for new tokens of one text behind `seen` others, of which `caches` holds what the
  /// model has handed out, by input; all that Continuations names when `seen` is not 0.
  [[nodiscard]] Values MakeNext(const std::vector<int64_t>& ids, int64_t seen,
                                const Values& caches) const;

 private:
  const Graph* graph_;
  FeedHints hints_;
  InputSource source_;
};

}  // namespace ptq
