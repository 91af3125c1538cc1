#include "ptq/runtime/feeds.h"

#include <filesystem>
#include <utility>

#include <nlohmann/json.hpp>

#include "ptq/base/error.h"
#include "ptq/base/file.h"

namespace ptq {
namespace {

int64_t FirstInt(const nlohmann::json& config, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    if (config.contains(key) && config[key].is_number_integer()) return config[key].get<int64_t>();
  }
  return 0;
}

/// The object in a JSON file; empty when there is none.
nlohmann::json ReadObject(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return nlohmann::json::object();
  auto json = nlohmann::json::parse(ReadTextFile(path), nullptr, false);
  return json.is_object() ? json : nlohmann::json::object();
}

/// Dimensions of a zero-length cache tensor [batch, heads, 0, head size].
Shape PastShape(const Graph::Declared& declared, const FeedHints& hints, int64_t batch,
                const std::string& name) {
  if (!declared.shape.has_value() || declared.shape->size() < 3) {
    throw UnsupportedError("input '" + name + "': a cache of unknown rank cannot be made empty");
  }
  Shape shape = *declared.shape;
  const size_t rank = shape.size();
  if (rank == 5 && shape[0] == 2) {  // ONNX Runtime's Attention: [2, batch, heads, length, size]
    return {2, batch, shape[2] > 0 ? shape[2] : hints.kv_heads, 0,
            shape[4] > 0 ? shape[4] : hints.head_size};
  }
  shape[0] = batch;
  shape[rank - 2] = 0;
  // Where nobody tells, 1 does: Concat ignores empty operands.
  if (rank > 3 && shape[1] < 0) shape[1] = std::max<int64_t>(1, hints.kv_heads);
  if (shape[rank - 1] < 0) shape[rank - 1] = std::max<int64_t>(1, hints.head_size);
  return shape;
}

bool Contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

Tensor MakeInput(const std::string& name, const Graph::Declared& declared, const FeedHints& hints,
                 const std::vector<int64_t>& ids, int64_t batch, int64_t length) {
  const Shape shape = {batch, length};
  if (Contains(name, "past") || Contains(name, "cache_key") || Contains(name, "cache_value")) {
    const DType dtype = declared.dtype == DType::kUndefined ? DType::kFloat32 : declared.dtype;
    return Tensor(dtype, PastShape(declared, hints, batch, name));
  }
  if (name == "use_cache_branch") return Tensor::Filled<bool>({1}, false);
  if (Contains(name, "input_ids")) return Tensor::From<int64_t>(shape, ids);
  if (Contains(name, "attention_mask")) return Tensor::Filled<int64_t>(shape, 1);
  if (Contains(name, "token_type_ids")) return Tensor::Filled<int64_t>(shape, 0);
  if (Contains(name, "position_ids")) {
    std::vector<int64_t> positions;
    for (int64_t i = 0; i < batch * length; ++i) positions.push_back(i % length);
    return Tensor::From<int64_t>(shape, positions);
  }
  throw UnsupportedError(
      "the model's input '" + name +
      "' cannot be made from token ids; give it as an array of --calib FILE.npz");
}

}  // namespace

FeedHints ReadFeedHints(const std::filesystem::path& model_directory) {
  nlohmann::json config = ReadObject(model_directory / "config.json");
  if (config.empty()) {  // ONNX Runtime GenAI's form
    const auto genai = ReadObject(model_directory / "genai_config.json");
    const nlohmann::json::json_pointer decoder("/model/decoder");
    if (genai.contains(decoder) && genai[decoder].is_object()) config = genai[decoder];
  }
  if (config.empty() && model_directory.filename() == "onnx") {
    return ReadFeedHints(model_directory.parent_path());
  }
  FeedHints hints;
  const int64_t heads =
      FirstInt(config, {"num_attention_heads", "n_head", "num_heads", "decoder_attention_heads"});
  const int64_t hidden = FirstInt(config, {"hidden_size", "n_embd", "d_model"});
  hints.kv_heads = FirstInt(config, {"num_key_value_heads", "num_kv_heads"});
  if (hints.kv_heads == 0) hints.kv_heads = heads;
  hints.head_size = FirstInt(config, {"head_dim", "head_size", "d_kv"});
  if (hints.head_size == 0 && heads > 0) hints.head_size = hidden / heads;
  return hints;
}

Feeder::Feeder(const Graph& graph, FeedHints hints, InputSource source)
    : graph_(&graph), hints_(hints), source_(std::move(source)) {
  (void)Make({0}, 1, 1);  // fails here, before any work, when an input cannot be made
}

Values Feeder::Make(const std::vector<int64_t>& ids, int64_t batch, int64_t length) const {
  Values values;
  std::map<std::string, Tensor> given;
  if (source_) given = source_(ids, batch, length);
  for (const ValueId id : graph_->graph_inputs()) {
    const auto declared = graph_->DeclaredType(id);
    const auto found = given.find(graph_->value(id).name);
    Tensor tensor = found != given.end()
                        ? std::move(found->second)
                        : MakeInput(graph_->value(id).name, declared, hints_, ids, batch, length);
    const bool integer = declared.dtype == DType::kInt32 || declared.dtype == DType::kBool;
    if (integer && tensor.dtype() == DType::kInt64) tensor = tensor.Cast(declared.dtype);
    if (IsFloat(declared.dtype)) tensor = tensor.ToFloat32();
    values[id] = std::move(tensor);
  }
  return values;
}

}  // namespace ptq
