// The names that frameworks, exporters and tokenizers give to their files.
#include "sidecar_kinds.h"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <system_error>

#include "ptq/base/letters.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;

template <size_t N>
bool IsAny(std::string_view word, const std::array<std::string_view, N>& words) {
  return std::ranges::find(words, word) != words.end();
}

bool Has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

/// `model.onnx`, `model.onnx_data`, `model.onnx.data`, `model.onnx_data_1` …
bool IsModel(std::string_view name) {
  return name.ends_with(".onnx") || Has(name, ".onnx.data") || Has(name, ".onnx_data") ||
         name.ends_with(".ort");
}

bool IsLegal(std::string_view name) {
  return name.starts_with("license") || name.starts_with("licence") || name.starts_with("notice") ||
         name.starts_with("readme");
}

bool IsWeights(const fs::path& root, const fs::path& path, const std::string& name) {
  static constexpr auto kExtensions = std::to_array<std::string_view>(
      {".safetensors", ".bin",        ".h5",       ".hdf5",    ".keras",      ".msgpack",
       ".ot",          ".gguf",       ".ggml",     ".pt",      ".pth",        ".pt2",
       ".pte",         ".ckpt",       ".tflite",   ".lite",    ".mlmodel",    ".pb",
       ".npz",         ".nemo",       ".pdparams", ".pdmodel", ".mnn",        ".pdiparams",
       ".params",      ".engine",     ".plan",     ".trt",     ".rknn",       ".dlc",
       ".hef",         ".caffemodel", ".pkl",      ".pickle",  ".joblib",     ".llamafile",
       ".litertlm",    ".task",       ".ptl",      ".mar",     ".torchscript"});
  const std::string extension = Lower(path.extension().string());
  // Styles of speakers are inputs of a speech model, not another form of it.
  const bool voices =
      name.starts_with("voices") || Lower(path.parent_path().filename().string()) == "voices";
  if (IsAny(extension, kExtensions)) return !voices;
  for (const std::string_view inner : {".safetensors.", ".bin.index.", ".h5.index.", ".ckpt-"}) {
    if (Has(name, inner)) return true;  // an index of parts, or one of them
  }
  // Graphs whose weights lie beside them: OpenVINO's and ncnn's.
  std::error_code error;
  const bool graph = extension == ".xml" || extension == ".param";
  return graph && fs::exists(root / fs::path(path).replace_extension(".bin"), error);
}

bool IsRuntime(std::string_view name, std::string_view extension) {
  static constexpr auto kExtensions = std::to_array<std::string_view>(
      {".json",  ".jsonl", ".txt",   ".yaml",   ".yml",      ".toml",   ".model", ".spm",
       ".vocab", ".jinja", ".bpe",   ".jinja2", ".mvn",      ".fst",    ".far",   ".dict",
       ".lex",   ".ini",   ".cfg",   ".conf",   ".tiktoken", ".csv",    ".tsv",   ".labels",
       ".names", ".npy",   ".codes", ".arpa",   ".trie",     ".merges", ".phone", ".scp"});
  return IsAny(extension, kExtensions) || name.starts_with("vocab") || name.starts_with("merges") ||
         name.starts_with("tokenizer") || name.starts_with("lexicon") || name.starts_with("voices");
}

}  // namespace

SidecarKind SidecarKindOf(const fs::path& root, const fs::path& path) {
  const std::string name = Lower(path.filename().string());
  if (IsModel(name)) return SidecarKind::kModel;
  if (IsLegal(name)) return SidecarKind::kLegal;
  if (IsWeights(root, path, name)) return SidecarKind::kWeights;
  const bool runtime = IsRuntime(name, Lower(path.extension().string()));
  return runtime ? SidecarKind::kRuntime : SidecarKind::kOtherFile;
}

bool IsModelDirectory(const fs::path& path) {
  static constexpr auto kExtensions =
      std::to_array<std::string_view>({".mlpackage", ".mlmodelc", ".mlprogram", ".savedmodel"});
  return IsAny(Lower(path.extension().string()), kExtensions);
}

bool DescribesModel(const fs::path& path) {
  static constexpr auto kNames = std::to_array<std::string_view>(
      {"config.json", "configuration.json", "genai_config.json", "generation_config.json",
       "modules.json", "model_index.json", "preprocessor_config.json", "processor_config.json",
       "special_tokens_map.json", "added_tokens.json", "config_sentence_transformers.json",
       "sentence_bert_config.json", "tokens.txt", "merges.txt", "bpe.model", "spiece.model"});
  static constexpr auto kExtensions =
      std::to_array<std::string_view>({".spm", ".tiktoken", ".mvn", ".jinja"});
  const std::string name = Lower(path.filename().string());
  return IsAny(name, kNames) || IsAny(Lower(path.extension().string()), kExtensions) ||
         name.starts_with("tokenizer") || name.starts_with("vocab.") ||
         name.starts_with("sentencepiece") || name.starts_with("lexicon") ||
         name.ends_with(".onnx.json");
}

}  // namespace ptq
