// Passes on what the models of a directory give out to those that read it.
#include "ptq/calibrate/companions.h"

#include <algorithm>
#include <utility>

#include "companion_names.h"
#include <nlohmann/json.hpp>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/json.h"
#include "ptq/calibrate/samples.h"
#include "ptq/emit/sidecars.h"

namespace ptq {
namespace {

/// The directory of a model that is a file or a directory.
std::filesystem::path DirectoryOf(const std::filesystem::path& model) {
  std::error_code error;
  return SidecarDirectory(std::filesystem::is_directory(model, error) ? model
                                                                      : model.parent_path());
}

/// decoder_start_token_id, or the padding token, as transformers falls back to.
int64_t ReadStartToken(const std::filesystem::path& directory) {
  int64_t padding = 0;
  for (const char* name : {"config.json", "generation_config.json"}) {
    std::error_code error;
    if (!std::filesystem::exists(directory / name, error)) continue;
    const auto config = ParseJson<nlohmann::json>(ReadTextFile(directory / name));
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
std::optional<FeedSamples> ReadFeeds(const std::vector<std::filesystem::path>& words) {
  const std::vector<CalibrationInput> files = ResolveCalibrationFiles(words);
  for (const auto& [file, field] : files) {
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
    : Companions(std::move(files),
                 CompanionOptions{recipe.calibration.files, recipe.requantize || recipe.from_qat
                                                                ? Codes::kDequantize
                                                                : Codes::kRefuse}) {}

Companions::Companions(std::vector<std::filesystem::path> files, const CompanionOptions& options)
    : files_(std::move(files)),
      options_(options),
      feeds_(ReadFeeds(options.samples)),
      sources_(files_.size()),
      hints_(files_.size()),
      loaded_(files_.size()),
      makers_(files_.size()),
      start_token_(ReadStartToken(DirectoryOf(files_.front()))) {}

Companions::~Companions() = default;

Source& Companions::source(size_t model) {
  if (sources_[model] == nullptr) {
    sources_[model] = std::make_unique<Source>(files_[model], options_.codes);
    hints_[model] = ReadFeedHints(sources_[model]->model.directory());
  }
  return *sources_[model];
}

InputSource Companions::InputsOf(size_t model) {
  return [this, model](const std::vector<int64_t>& ids, int64_t batch, int64_t length) {
    Tokens tokens{ids, batch, length, {}};
    if (FeedsOf(model) != nullptr) tokens.samples = Columns(ids, length, 0, 1);
    return Make(model, tokens);
  };
}

Companions::Named Companions::InputsFor(size_t model, const std::vector<int64_t>& ids,
                                        const std::vector<int64_t>& target) {
  Tokens tokens{ids, 1, std::ssize(ids), target};
  const bool fed = FeedsOf(model) != nullptr;
  if (fed) tokens.samples = Columns(ids, tokens.length, 0, 1);
  Named given = Make(model, tokens);
  if (fed || !HoldsEncoder(model)) return given;
  const std::vector<int64_t>& own = target.empty() ? ids : target;
  const Shape shape = {1, std::ssize(own)};
  given["decoder_input_ids"] =
      Tensor::From<int64_t>(shape, Shifted(own, std::ssize(own), start_token_));
  given["decoder_attention_mask"] = Tensor::Filled<int64_t>(shape, 1);
  return given;
}

Companions::Named Companions::RunPart(size_t model, const Tokens& tokens) {
  const Source& own = source(model);
  const bool apart = IsBehindEncoder(model) && !tokens.target.empty();
  const std::vector<int64_t>& ids = apart ? tokens.target : tokens.ids;
  Values inputs = MakeInputs(own.graph, hints_[model], Make(model, tokens), ids, tokens.batch,
                             apart ? std::ssize(ids) : tokens.length);
  if (options_.keep_weights && loaded_[model] == nullptr) {
    loaded_[model] = std::make_unique<LoadedModel>(own.executor, own.graph.graph_outputs());
  }
  Named named;
  for (const auto& [id, tensor] : loaded_[model] != nullptr
                                      ? loaded_[model]->Run(std::move(inputs))
                                      : own.executor.RunAll(std::move(inputs))) {
    named[own.graph.value(id).name] = tensor;
  }
  return named;
}

/// The tokens that a model itself reads: behind an encoder, those of its own side.
Companions::Tokens Companions::ReadTokens(size_t model, const Named& given, const Tokens& tokens) {
  Tokens own = tokens;
  const bool behind = MakersFor(model).encoder >= 0;
  if (tokens.samples.empty()) {
    if (behind && !tokens.target.empty()) {
      own.ids = tokens.target;
      own.length = std::ssize(own.ids);
    }
    if (behind) own.ids = Shifted(own.ids, own.length, start_token_);
    own.target.clear();
    return own;
  }
  if (tokens.read) return own;
  const std::string name = behind ? "decoder_input_ids" : "input_ids";
  if (const auto array = given.find(name); array != given.end()) {
    own.ids = array->second.ToInt64s();
    own.length = array->second.dim(-1);
    own.read = true;
  } else if (HasInput(model, "input_ids")) {
    throw UnsupportedError("'" + options_.samples.front().string() + "' does not hold '" + name +
                           "', which '" + files_[model].filename().string() + "' reads");
  }
  return own;
}

/// Whether a text without images, or sounds, is an input of no rows: [places of them, width].
bool Companions::CanBeEmpty(size_t model, const std::string& input) {
  const Graph& graph = source(model).graph;
  const auto shape = graph.DeclaredType(graph.Find(input)).shape.value_or(Shape{});
  return input.ends_with("_features") && HasInput(model, "input_ids") && shape.size() == 2 &&
         shape[0] < 0 && shape[1] > 0;
}

/// What other models give out for these tokens. An encoder reads the text, whatever its decoder
/// reads.
void Companions::AddMade(size_t model, const Tokens& texts, const Tokens& own, Named& given) {
  const Makers& makers = MakersFor(model);
  std::map<size_t, Named> outputs;
  for (const Link& link : makers.links) {
    if (given.contains(link.input)) continue;
    const bool encodes = makers.encoder == int(link.maker);
    try {
      if (!outputs.contains(link.maker)) {
        outputs[link.maker] = RunPart(link.maker, encodes ? texts : own);
      }
      given[link.input] = outputs.at(link.maker).at(link.output);
    } catch (const UnsupportedError&) {
      if (!CanBeEmpty(model, link.input)) throw;
      const Graph& graph = source(model).graph;
      const Shape shape = *graph.DeclaredType(graph.Find(link.input)).shape;
      given[link.input] = Tensor(DType::kFloat32, {0, shape[1]});
    }
  }
  if (makers.encoder < 0 || given.contains(kEncoderMask)) return;
  int64_t places = texts.length;
  for (const auto& [name, tensor] : given) {
    if (name == kEncoderStates) places = tensor.dim(1);
    if (IsPast(name) && Has(name, ".encoder.")) places = tensor.dim(-2);
  }
  given[kEncoderMask] = Tensor::Filled<int64_t>({own.batch, places}, 1);
}

Companions::Named Companions::Make(size_t model, const Tokens& tokens) {
  Named given;
  const bool fed = !tokens.samples.empty();
  if (fed) given = feeds_->Rows(tokens.samples, tokens.batch, 1);
  Tokens own = ReadTokens(model, given, tokens);
  if (MakersFor(model).past >= 0) {
    own = AddPast(model, fed ? own : tokens, given);
  } else if (MakersFor(model).encoder >= 0 || fed) {
    given["input_ids"] = Tensor::From<int64_t>({own.batch, own.length}, own.ids);
    if (!given.contains("attention_mask")) {
      given["attention_mask"] = Tensor::Filled<int64_t>({own.batch, own.length}, 1);
    }
  }
  AddMade(model, tokens, own, given);
  return given;
}

/// What another model has left of the tokens in front of the last one, which is returned.
Companions::Tokens Companions::AddPast(size_t model, const Tokens& tokens, Named& given) {
  const bool fed = !tokens.samples.empty();
  // Behind an encoder the decoder reads one token more than the text has: the start.
  const bool whole = MakersFor(model).encoder >= 0 || fed;
  Tokens before = tokens;
  if (!whole) before.length = std::max<int64_t>(1, tokens.length - 1);
  before.ids = Columns(tokens.ids, tokens.length, 0, before.length);
  before.read = false;  // of complete samples it reads the same arrays
  for (const auto& [name, tensor] : RunPart(size_t(MakersFor(model).past), before)) {
    if (!name.starts_with("present")) continue;
    const std::string rest = name.substr(std::string_view("present").size());
    for (const std::string& past : {"past_key_values" + rest, "past" + rest}) {
      if (HasInput(model, past)) given[past] = tensor;
    }
  }
  Tokens last = tokens;
  if (!tokens.target.empty()) {
    last.ids = tokens.target;
    last.length = before.length = std::ssize(tokens.target);
  }
  last.ids = Columns(last.ids, last.length, last.length - 1, last.length);
  last.length = 1;
  last.read = true;
  given["input_ids"] = Tensor::From<int64_t>({last.batch, 1}, last.ids);
  given["attention_mask"] = Tensor::Filled<int64_t>({last.batch, before.length + 1}, 1);
  given["position_ids"] = Tensor::Filled<int64_t>({last.batch, 1}, before.length);
  return last;
}

int64_t Companions::VocabularyOf(size_t model) {
  std::vector<size_t> readers = ModelsBehind(MakersFor(model));
  readers.push_back(model);
  int64_t least = 0;
  for (const size_t reader : readers) {
    const int64_t size = VocabularySize(source(reader).graph);
    if (size > 0 && (least == 0 || size < least)) least = size;
  }
  return least;
}

ModelInputs InputsOf(Companions& companions, size_t model) {
  ModelInputs inputs;
  inputs.vocabulary = companions.VocabularyOf(model);
  inputs.source = companions.InputsOf(model);
  inputs.feeds = companions.FeedsOf(model);
  inputs.makers = companions.MakersOf(model);
  return inputs;
}

}  // namespace ptq
