#include "companions.h"

#include <algorithm>
#include <utility>

#include <nlohmann/json.hpp>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/emit/sidecars.h"
#include "ptq/pipeline/samples.h"

namespace ptq {
namespace {

constexpr char kEncoderStates[] = "encoder_hidden_states";
constexpr char kEncoderMask[] = "encoder_attention_mask";
constexpr char kEmbeddings[] = "inputs_embeds";

bool IsPast(const std::string& name) { return name.starts_with("past"); }

/// decoder_start_token_id, or the padding token, as transformers falls back to.
int64_t ReadStartToken(const std::filesystem::path& directory) {
  int64_t padding = 0;
  for (const char* name : {"config.json", "generation_config.json"}) {
    std::error_code error;
    if (!std::filesystem::exists(directory / name, error)) continue;
    const auto config = nlohmann::json::parse(ReadTextFile(directory / name), nullptr, false);
    if (!config.is_object()) continue;
    const auto found = [&](const char* key) {
      return config.contains(key) && config[key].is_number_integer();
    };
    if (found("decoder_start_token_id")) return config["decoder_start_token_id"].get<int64_t>();
    if (found("pad_token_id")) padding = config["pad_token_id"].get<int64_t>();
  }
  return padding;
}

/// Each row behind a first token, without its last one.
std::vector<int64_t> Shifted(const std::vector<int64_t>& ids, int64_t length, int64_t first) {
  std::vector<int64_t> shifted(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    shifted[i] = i % size_t(length) == 0 ? first : ids[i - 1];
  }
  return shifted;
}

/// Columns [begin, end) of each row.
std::vector<int64_t> Columns(const std::vector<int64_t>& ids, int64_t length, int64_t begin,
                             int64_t end) {
  std::vector<int64_t> part;
  for (size_t row = 0; row < ids.size(); row += size_t(length)) {
    part.insert(part.end(), ids.begin() + int64_t(row) + begin, ids.begin() + int64_t(row) + end);
  }
  return part;
}

/// Complete inputs, which a file holds alone.
std::optional<FeedSamples> ReadFeeds(const std::vector<std::filesystem::path>& files) {
  for (const auto& file : files) {
    std::error_code error;
    if (!std::filesystem::exists(file, error)) continue;
    auto feeds = FeedSamples::Read(file);
    if (!feeds.has_value()) continue;
    if (files.size() == 1) return feeds;
    throw UsageError("'" + file.string() +
                     "' holds complete inputs: it can be the only --calib; put all samples into "
                     "one file");
  }
  return std::nullopt;
}

}  // namespace

Companions::Companions(std::vector<std::filesystem::path> files, const Recipe& recipe)
    : files_(std::move(files)),
      recipe_(recipe),
      feeds_(ReadFeeds(recipe.calibration.files)),
      sources_(files_.size()),
      feeders_(files_.size()),
      start_token_(ReadStartToken(SidecarDirectory(files_.front().parent_path()))) {}

Companions::~Companions() = default;

Source& Companions::source(size_t model) {
  if (sources_[model] == nullptr) {
    sources_[model] = std::make_unique<Source>(files_[model], recipe_.requantize);
  }
  return *sources_[model];
}

bool Companions::HasInput(size_t model, const std::string& name) {
  const Graph& graph = source(model).graph;
  const ValueId id = graph.Find(name);
  return id != kNoValue && graph.value(id).graph_input;
}

/// Another model with an output of that name; -1 for none.
int Companions::FindOutput(size_t model, const std::string& name) {
  for (size_t other = 0; other < files_.size(); ++other) {
    if (other == model) continue;
    const Graph& graph = source(other).graph;
    const ValueId id = graph.Find(name);
    if (id != kNoValue && graph.value(id).graph_output) return int(other);
  }
  return -1;
}

Companions::Makers Companions::FindMakers(size_t model) {
  Makers makers;
  if (HasInput(model, kEmbeddings)) makers.embedder = FindOutput(model, kEmbeddings);
  bool past = false;
  bool encoded = HasInput(model, kEncoderStates) || HasInput(model, kEncoderMask);
  for (const ValueId id : source(model).graph.graph_inputs()) {
    const std::string& name = source(model).graph.value(id).name;
    past = past || IsPast(name);
    encoded = encoded || (IsPast(name) && name.find("encoder") != std::string::npos &&
                          name.find(".encoder.") != std::string::npos);
  }
  for (size_t other = 0; other < files_.size(); ++other) {
    if (other == model) continue;
    const std::string name = files_[other].stem().string();
    const bool decoder = name.find("decoder") != std::string::npos;
    if (encoded && !decoder && name.find("encoder") != std::string::npos) {
      makers.encoder = int(other);
    }
    const auto& inputs = source(other).graph.graph_inputs();
    const bool starts = std::ranges::none_of(
        inputs, [&](ValueId id) { return IsPast(source(other).graph.value(id).name); });
    const bool leaves = std::ranges::any_of(source(other).graph.graph_outputs(), [&](ValueId id) {
      return source(other).graph.value(id).name.starts_with("present");
    });
    if (past && decoder && starts && leaves && !HasInput(model, "use_cache_branch")) {
      makers.past = int(other);
    }
  }
  return makers;
}

std::vector<std::string> Companions::MakersOf(size_t model) {
  const Makers makers = FindMakers(model);
  std::vector<std::string> names;
  for (const int maker : {makers.encoder, makers.embedder, makers.past}) {
    if (maker >= 0) names.push_back(files_[size_t(maker)].filename().string());
  }
  return names;
}

const FeedSamples* Companions::FeedsOf(size_t model) {
  if (!feeds_.has_value()) return nullptr;
  const int encoder = FindMakers(model).encoder;
  const bool fed = feeds_->Feed(source(model).graph) ||
                   (encoder >= 0 && feeds_->Feed(source(size_t(encoder)).graph));
  return fed ? &*feeds_ : nullptr;
}

InputSource Companions::InputsOf(size_t model) {
  return [this, model](const std::vector<int64_t>& ids, int64_t batch, int64_t length) {
    return Make(model, ids, batch, length);
  };
}

std::map<std::string, Tensor> Companions::RunPart(size_t model, const std::vector<int64_t>& ids,
                                                  int64_t batch, int64_t length) {
  Source& own = source(model);
  if (feeders_[model] == nullptr) {
    feeders_[model] =
        std::make_unique<Feeder>(own.graph, ReadFeedHints(own.model.directory()), InputsOf(model));
  }
  const Values outputs = own.executor.RunAll(feeders_[model]->Make(ids, batch, length));
  std::map<std::string, Tensor> named;
  for (const auto& [id, tensor] : outputs) named[own.graph.value(id).name] = tensor;
  return named;
}

std::map<std::string, Tensor> Companions::Make(size_t model, const std::vector<int64_t>& ids,
                                               int64_t batch, int64_t length) {
  std::map<std::string, Tensor> given;
  const Makers makers = FindMakers(model);
  std::vector<int64_t> own = ids;
  int64_t own_length = length;
  const bool fed = FeedsOf(model) != nullptr;
  if (fed) {
    given = feeds_->Rows(ids, batch, length);
    const char* const name = makers.encoder >= 0 ? "decoder_input_ids" : "input_ids";
    if (HasInput(model, "input_ids") && !given.contains(name)) {
      throw UnsupportedError("'" + recipe_.calibration.files.front().string() +
                             "' does not hold '" + std::string(name) + "', which '" +
                             files_[model].filename().string() + "' reads");
    }
    if (HasInput(model, "input_ids")) {
      own = given.at(name).ToInt64s();
      own_length = given.at(name).dim(-1);
    }
  }
  if (makers.encoder >= 0) {
    auto encoded = RunPart(size_t(makers.encoder), ids, batch, length);
    const auto states = encoded.find("last_hidden_state");
    const Tensor& found = states != encoded.end() ? states->second : encoded.begin()->second;
    given[kEncoderStates] = found;
    given[kEncoderMask] = Tensor::Filled<int64_t>({batch, found.dim(1)}, 1);
    if (!fed) own = Shifted(ids, length, start_token_);
  }
  if (makers.embedder >= 0) {
    given[kEmbeddings] = RunPart(size_t(makers.embedder), ids, batch, length).at(kEmbeddings);
  }
  if (makers.past >= 0) {
    // Behind an encoder the decoder reads one token more than the text has: the start.
    const bool whole = makers.encoder >= 0 || fed;
    const int64_t seen = whole ? length : std::max<int64_t>(1, length - 1);
    const auto last = fed ? Columns(own, own_length, own_length - 1, own_length)
                          : Columns(ids, length, length - 1, length);
    AddPast(model, RunPart(size_t(makers.past), Columns(ids, length, 0, seen), batch, seen), given);
    const int64_t past = fed ? own_length : seen;
    given["input_ids"] = Tensor::From<int64_t>({batch, 1}, last);
    given["attention_mask"] = Tensor::Filled<int64_t>({batch, past + 1}, 1);
    given["position_ids"] = Tensor::Filled<int64_t>({batch, 1}, past);
  } else if (makers.encoder >= 0 || fed) {
    given["input_ids"] = Tensor::From<int64_t>({batch, own_length}, own);
    if (!given.contains("attention_mask")) {
      given["attention_mask"] = Tensor::Filled<int64_t>({batch, own_length}, 1);
    }
  }
  return given;
}

/// What a model leaves for the next token, as what another one has seen.
void Companions::AddPast(size_t model, const std::map<std::string, Tensor>& outputs,
                         std::map<std::string, Tensor>& given) {
  for (const auto& [name, tensor] : outputs) {
    if (!name.starts_with("present")) continue;
    const std::string rest = name.substr(std::string_view("present").size());
    for (const std::string& past : {"past_key_values" + rest, "past" + rest}) {
      if (HasInput(model, past)) given[past] = tensor;
    }
  }
}

int64_t Companions::VocabularyOf(size_t model) {
  const Makers makers = FindMakers(model);
  int64_t least = 0;
  for (const int reader : {int(model), makers.encoder, makers.embedder, makers.past}) {
    const int64_t size = reader < 0 ? 0 : VocabularySize(source(size_t(reader)).graph);
    if (size > 0 && (least == 0 || size < least)) least = size;
  }
  return least;
}

RunContext ContextOf(Companions& companions, size_t model) {
  RunContext context;
  context.vocabulary = companions.VocabularyOf(model);
  context.inputs = companions.InputsOf(model);
  context.feeds = companions.FeedsOf(model);
  context.makers = companions.MakersOf(model);
  return context;
}

}  // namespace ptq
