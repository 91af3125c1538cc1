// Reads modules.json and the folders of the modules that it names, and computes what they do.
#include "ptq/evaluate/sentence_modules.h"

#include <array>
#include <cmath>
#include <map>
#include <numbers>
#include <numeric>
#include <utility>

#include "safetensors.h"
#include <nlohmann/json.hpp>

#include "ptq/base/confined_path.h"
#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/json.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* kModules = "modules.json";
constexpr const char* kConfig = "config.json";
constexpr const char* kHint = "; --pooling mean, cls, max or last does without these files";

Json ReadJson(const fs::path& path) {
  Json json = ParseJson<Json>(ReadTextFile(path));
  if (json.is_discarded()) throw InputError("'" + path.string() + "' is not valid JSON" + kHint);
  return json;
}

/// The last word of "sentence_transformers.models.Pooling".
std::string KindOf(const std::string& type) {
  const size_t dot = type.find_last_of('.');
  return dot == std::string::npos ? type : type.substr(dot + 1);
}

/// The names of sentence-transformers' configurations, in the order of the concatenation: a flag,
/// and the word of newer versions.
struct PoolingKey {
  const char* flag;
  const char* word;
  Pooling pooling;
};
constexpr std::array kPoolingKeys = {
    PoolingKey{"pooling_mode_cls_token", "cls", Pooling::kCls},
    PoolingKey{"pooling_mode_max_tokens", "max", Pooling::kMax},
    PoolingKey{"pooling_mode_mean_tokens", "mean", Pooling::kMean},
    PoolingKey{"pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens",
               Pooling::kMeanSqrtLength},
    PoolingKey{"pooling_mode_weightedmean_tokens", "weightedmean", Pooling::kWeightedMean},
    PoolingKey{"pooling_mode_lasttoken", "lasttoken", Pooling::kLastToken},
};

using Activation = double (*)(double);

Activation ActivationOf(const std::string& type, const fs::path& config) {
  static const std::map<std::string, Activation> kActivations = {
      {"Identity", [](double x) { return x; }},
      {"Tanh", [](double x) { return std::tanh(x); }},
      {"ReLU", [](double x) { return x > 0 ? x : 0 * x; }},
      {"Sigmoid", [](double x) { return 1 / (1 + std::exp(-x)); }},
      {"SiLU", [](double x) { return x / (1 + std::exp(-x)); }},
      {"GELU", [](double x) { return x / 2 * (1 + std::erf(x / std::numbers::sqrt2)); }},
  };
  const auto found = kActivations.find(KindOf(type));
  if (found != kActivations.end()) return found->second;
  throw UnsupportedError("'" + config.string() + "': activation '" + type + "' is not known" +
                         kHint);
}

std::vector<double> Normalized(const std::vector<double>& x) {
  const double norm = std::sqrt(std::inner_product(x.begin(), x.end(), x.begin(), 0.0));
  std::vector<double> result = x;
  for (double& value : result) value /= norm;
  return result;
}

/// W x + b, W [N, K].
struct Affine {
  Tensor weight;
  Tensor bias;  ///< [N], or undefined
  Activation activation;
  std::string where;

  std::vector<double> operator()(const std::vector<double>& x) const {
    const auto n = static_cast<size_t>(weight.dim(0));
    if (int64_t(x.size()) != weight.dim(1)) {
      throw InputError(where + ": expects " + std::to_string(weight.dim(1)) +
                       " channels, but gets " + std::to_string(x.size()));
    }
    const std::span<const float> w = weight.data<float>();
    std::vector<double> y(n, 0);
    for (size_t i = 0; i < n; ++i) {
      if (bias.defined()) y[i] = double{bias.data<float>()[i]};
      for (size_t k = 0; k < x.size(); ++k) y[i] += double{w[i * x.size() + k]} * x[k];
      y[i] = activation(y[i]);
    }
    return y;
  }
};

}  // namespace

std::vector<Pooling> SentenceModules::ReadPoolings(const fs::path& directory) {
  const fs::path path = directory / kConfig;
  const Json config = ReadJson(path);
  std::vector<Pooling> poolings;
  const Json mode = config.is_object() ? config.value("pooling_mode", Json()) : Json();
  for (const PoolingKey& key : kPoolingKeys) {
    const bool named = mode == key.word || (mode.is_array() && !mode.empty() &&
                                            std::ranges::find(mode, Json(key.word)) != mode.end());
    const auto flag = config.find(key.flag);
    if (named || (flag != config.end() && *flag == true)) poolings.push_back(key.pooling);
  }
  if (!poolings.empty()) return poolings;
  throw UnsupportedError("'" + path.string() + "' names no way to pool that is known" + kHint);
}

SentenceModules::Layer SentenceModules::ReadDense(const fs::path& directory) {
  const fs::path weights = directory / "model.safetensors";
  const Json config = ReadJson(directory / kConfig);
  if (config.value("module_input_name", "sentence_embedding") != "sentence_embedding") {
    throw UnsupportedError("'" + directory.string() + "': a dense layer on single tokens" + kHint);
  }
  if (!fs::exists(weights)) {
    throw UnsupportedError("'" + directory.string() +
                           "' holds no model.safetensors with the weights of the dense layer" +
                           kHint);
  }
  Affine affine;
  affine.where = "'" + weights.string() + "'";
  affine.activation =
      ActivationOf(config.value("activation_function", "torch.nn.Tanh"), directory / kConfig);
  auto weight = ReadSafetensor(weights, "linear.weight");
  auto bias = ReadSafetensor(weights, "linear.bias");
  if (!weight.has_value() || weight->rank() != 2 ||
      (bias.has_value() && bias->shape() != Shape{weight->dim(0)})) {
    throw InputError(affine.where + ": no linear.weight [N, K] with a linear.bias [N]" + kHint);
  }
  affine.weight = std::move(*weight);
  if (bias.has_value()) affine.bias = std::move(*bias);
  std::string name = "dense " + std::to_string(affine.weight.dim(0)) + " x " +
                     std::to_string(affine.weight.dim(1));
  return {std::move(name), std::move(affine)};
}

SentenceModules SentenceModules::Read(const fs::path& directory) {
  const fs::path path = directory / kModules;
  const Json list = ReadJson(path);
  SentenceModules modules;
  if (!list.is_array()) throw InputError("'" + path.string() + "': expected a list" + kHint);
  for (const Json& entry : list) {
    const std::string kind = KindOf(entry.at("type").get<std::string>());
    const std::string below = entry.value("path", "");
    fs::path folder = directory;
    if (!below.empty()) {
      folder /= ConfinedName(below + "/" + kConfig, "'" + path.string() + "': the module's file")
                    .parent_path();
    }
    if (kind == "Transformer" || kind == "Dropout") continue;
    if (kind == "Pooling" && modules.poolings_.empty()) {
      modules.poolings_ = ReadPoolings(folder);
    } else if (kind == "Dense") {
      modules.layers_.push_back(ReadDense(folder));
    } else if (kind == "Normalize") {
      modules.layers_.push_back({"", Normalized});
    } else {
      throw UnsupportedError("'" + path.string() + "': module '" + kind + "' is not known" + kHint);
    }
  }
  if (modules.poolings_.empty()) modules.poolings_ = {Pooling::kMean};
  return modules;
}

std::optional<SentenceModules> SentenceModules::Find(const fs::path& source) {
  std::error_code error;
  fs::path directory = fs::absolute(source).lexically_normal();
  if (!fs::is_directory(directory, error)) directory = directory.parent_path();
  if (!directory.has_filename()) directory = directory.parent_path();  // "model/onnx/"
  for (const fs::path& folder : {directory, directory.parent_path()}) {
    if (!fs::exists(folder / kModules, error)) continue;
    try {
      return Read(folder);
    } catch (const Json::exception& malformed) {
      throw InputError("'" + (folder / kModules).string() + "': " + JsonReason(malformed) + kHint);
    }
  }
  return std::nullopt;
}

std::vector<double> SentenceModules::Apply(std::span<const float> states, int64_t width) const {
  Vector result;
  for (const Pooling pooling : poolings_) {
    const Vector part = Pool(pooling, states, width);
    result.insert(result.end(), part.begin(), part.end());
  }
  for (const Layer& layer : layers_) result = layer.apply(result);
  return result;
}

std::string SentenceModules::Description() const {
  std::string text;
  for (const Pooling pooling : poolings_) {
    text += (text.empty() ? "" : " + ") + std::string(PoolingName(pooling));
  }
  for (const Layer& layer : layers_) {
    if (!layer.name.empty()) text += ", " + layer.name;
  }
  return text;
}

}  // namespace ptq
