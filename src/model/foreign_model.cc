// Recognises models of other frameworks, and names the command that exports them.
#include "foreign_model.h"

#include <algorithm>
#include <array>
#include <optional>
#include <regex>
#include <vector>

#include "ptq/base/file_kind.h"
#include "ptq/base/letters.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;

/// The framework that a model is of, and with it the way to ONNX.
enum class Framework { kTorch, kSavedModel, kKeras, kGraphDef, kTfLite, kFlax, kGguf, kNoWay };

struct Foreign {
  std::string what;  ///< "a safetensors file"
  Framework framework;
};

std::string Quoted(const fs::path& path) { return "'" + path.string() + "'"; }

std::optional<Framework> FrameworkOf(FileKind kind) {
  switch (kind) {
    case FileKind::kSafetensors:
    case FileKind::kPickle:
    case FileKind::kTorchZip: return Framework::kTorch;
    case FileKind::kHdf5:
    case FileKind::kKerasZip: return Framework::kKeras;
    case FileKind::kTfLite: return Framework::kTfLite;
    case FileKind::kGguf: return Framework::kGguf;
    case FileKind::kExecuTorch:
    case FileKind::kOrt:
    case FileKind::kTensorRt: return Framework::kNoWay;
    default: return std::nullopt;
  }
}

struct NamedKind {
  std::string_view suffix;  ///< of the file's name, in lower case
  std::string_view what;
  Framework framework;
};
/// What the first bytes do not tell: protobufs of other schemas, and formats without a signature.
constexpr std::array<NamedKind, 16> kNamed = {{
    {".safetensors", "a safetensors file", Framework::kTorch},
    {".bin", "a PyTorch file", Framework::kTorch},
    {".pt", "a PyTorch file", Framework::kTorch},
    {".pth", "a PyTorch file", Framework::kTorch},
    {".ckpt", "a checkpoint of another framework", Framework::kTorch},
    {"saved_model.pb", "a TensorFlow SavedModel", Framework::kSavedModel},
    {".pb", "a TensorFlow graph", Framework::kGraphDef},
    {".h5", "an HDF5 file (Keras, TensorFlow)", Framework::kKeras},
    {".keras", "a Keras model", Framework::kKeras},
    {".tflite", "a TensorFlow Lite model", Framework::kTfLite},
    {".gguf", "a GGUF file", Framework::kGguf},
    {".msgpack", "a Flax file", Framework::kFlax},
    {".mlmodel", "a Core ML model", Framework::kNoWay},
    {".mlpackage", "a Core ML model", Framework::kNoWay},
    {".ort", "a model in ONNX Runtime's ORT format", Framework::kNoWay},
    {".engine", "a TensorRT engine", Framework::kNoWay},
}};

struct TellingWord {
  std::string_view word;  ///< near the beginning of such a file
  std::string_view what;
  Framework framework;
};
constexpr std::array<TellingWord, 4> kWords = {{
    {"com.github.apple.coremltools", "a Core ML model", Framework::kNoWay},
    {"saved_model_main_op", "a TensorFlow SavedModel", Framework::kSavedModel},
    {"VarHandleOp", "a TensorFlow graph", Framework::kGraphDef},
    {"Placeholder", "a TensorFlow graph", Framework::kGraphDef},
}};

bool IsOpenVino(const fs::path& file) {
  std::error_code error;
  const std::string name = Lower(file.filename().string());
  if (name.ends_with(".xml")) {
    return fs::exists(fs::path(file).replace_extension(".bin"), error);
  }
  return name.ends_with(".bin") && fs::exists(fs::path(file).replace_extension(".xml"), error);
}

/// By content where it tells, else by name.
std::optional<Foreign> Recognise(const fs::path& file, FileKind kind) {
  if (const auto framework = FrameworkOf(kind))
    return Foreign{std::string(NameOf(kind)), *framework};
  if (IsOpenVino(file)) return Foreign{"a model of OpenVINO", Framework::kNoWay};
  const std::string name = Lower(file.filename().string());
  const auto found = std::ranges::find_if(
      kNamed, [&](const NamedKind& named) { return name.ends_with(named.suffix); });
  if (found == kNamed.end()) return std::nullopt;
  return Foreign{std::string(found->what), found->framework};
}

/// The directory of a file as a command can name it.
fs::path DirectoryOf(const fs::path& file) {
  fs::path directory = file.parent_path();
  return directory.empty() ? fs::path(".") : directory;
}

std::string ExportCommand(const std::string& model, const std::string& destination) {
  return "optimum-cli export onnx --model " + ShellWord(model) + " " + ShellWord(destination);
}

/// "export it first: …"
std::string Advice(const Foreign& foreign, const fs::path& file) {
  static constexpr std::string_view kConvert = "export it first: python -m tf2onnx.convert ";
  switch (foreign.framework) {
    case Framework::kTorch:
      return "export it first: " + ExportCommand(DirectoryOf(file), "onnx-model");
    case Framework::kSavedModel:
      return std::string(kConvert) + "--saved-model " + ShellWord(DirectoryOf(file)) +
             " --output model.onnx";
    case Framework::kGraphDef:
      return std::string(kConvert) + "--graphdef " + ShellWord(file) +
             " --inputs NAMES --outputs NAMES --output model.onnx";
    case Framework::kKeras:
      return std::string(kConvert) + "--keras " + ShellWord(file) + " --output model.onnx";
    case Framework::kTfLite:
      return std::string(kConvert) + "--tflite " + ShellWord(file) + " --output model.onnx";
    case Framework::kFlax:
    case Framework::kGguf:
    case Framework::kNoWay: break;
  }
  return "export it first, from the original model that it was made of: " +
         ExportCommand("ORGANISATION/NAME", "onnx-model");
}

/// Files that hold weights or programs of other frameworks, the telling ones first.
std::vector<std::pair<fs::path, Foreign>> ForeignFilesIn(const fs::path& directory) {
  std::vector<std::pair<fs::path, Foreign>> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    const fs::path& file = entry.path();
    const std::string name = Lower(file.filename().string());
    // The state of a training run is no model.
    if (name == "training_args.bin" || name == "optimizer.pt" || name == "scheduler.pt") continue;
    if (auto foreign = Recognise(file, KindOfFile(file)))
      found.emplace_back(file, *std::move(foreign));
  }
  std::ranges::sort(found, [](const auto& a, const auto& b) {
    return a.second.framework != b.second.framework ? a.second.framework < b.second.framework
                                                    : a.first < b.first;
  });
  return found;
}

std::optional<fs::path> FolderWithModels(const fs::path& directory) {
  std::error_code error;
  std::vector<fs::path> folders;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    if (!entry.is_directory(error)) continue;
    for (const auto& file : fs::directory_iterator(entry.path(), error)) {
      if (file.path().extension() == ".onnx") folders.push_back(entry.path());
    }
  }
  const auto first = std::ranges::min_element(folders);
  return first == folders.end() ? std::nullopt : std::optional(*first);
}

/// "organisation/name" of a model on the hub, given so or as its address; empty for anything else.
std::string HubName(const fs::path& path) {
  static const std::regex kAddress(
      R"(^(?:https?:/+(?:www\.)?(?:huggingface\.co|hf\.co)/|hf:/+)([\w.-]+/[\w.-]+).*$)");
  static const std::regex kName(R"(^[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?(?:[:@][\w.-]+)?$)");
  const std::string text = path.string();
  constexpr size_t kLongest = 512;  // std::regex goes one call deeper with each letter
  if (text.size() > kLongest) return "";
  std::smatch match;
  if (std::regex_match(text, match, kAddress)) return match[1];
  if (!std::regex_match(text, kName)) return "";
  const std::string suffix = Lower(path.extension().string());
  const bool file = suffix == ".onnx" || std::ranges::any_of(kNamed, [&](const NamedKind& named) {
                      return suffix == named.suffix;
                    });
  // "models/gpt": a mistake in a path of this disk.
  std::error_code error;
  const bool here = path.has_parent_path() && fs::exists(path.parent_path(), error);
  return file || here ? "" : text.substr(0, text.find_first_of(":@"));
}

/// The beginning of a text that somebody saved as a model: "Entry not found".
std::string Quote(std::string_view head) {
  constexpr size_t kShown = 60;
  if (head.size() > kHeadBytes / 4) return "";
  std::string shown(head.substr(0, head.find_first_of("\r\n")));
  const bool text = std::ranges::all_of(shown, [](char c) { return c >= ' ' && c <= '~'; });
  if (!text || shown.empty()) return "";
  if (shown.size() > kShown) shown = shown.substr(0, kShown) + "…";
  return ", but the text \"" + shown + "\"";
}

}  // namespace

std::string WhyMissing(const fs::path& path) {
  std::string missing = "model '" + path.string() + "' does not exist";
  const std::string hub = HubName(path);
  if (!hub.empty()) {
    return missing + " here; if it is a model on the Hugging Face hub, export it first: " +
           ExportCommand(hub, "onnx-model") + " (or, where it holds .onnx files: hf download " +
           ShellWord(hub) + " --local-dir onnx-model)";
  }
  if (path.string().starts_with("http:/") || path.string().starts_with("https:/")) {
    return missing + " here; download it first, with the files beside it";
  }
  return missing;
}

std::string WhyNoModelIn(const fs::path& directory) {
  std::string none = "no .onnx file in " + Quoted(directory);
  const auto foreign = ForeignFilesIn(directory);
  if (!foreign.empty()) {
    const auto& [file, what] = foreign.front();
    return none + ", but '" + file.filename().string() + "', " + what.what + "; " +
           Advice(what, file);
  }
  const std::string suffix = Lower(directory.extension().string());
  if (suffix == ".mlpackage" || suffix == ".mlmodelc") {
    const Foreign core_ml{"a Core ML model", Framework::kNoWay};
    return Quoted(directory) + " is " + core_ml.what + "; " + Advice(core_ml, directory);
  }
  if (const auto folder = FolderWithModels(directory)) {
    return none + "; there are some in " + Quoted(*folder) + ": give that, or one of them";
  }
  return none;
}

std::string WhyForeign(const fs::path& file, std::span<const std::byte> bytes) {
  const FileKind kind = KindOf(HeadOf(bytes));
  if (const auto framework = FrameworkOf(kind)) {
    const Foreign foreign{std::string(NameOf(kind)), *framework};
    return Quoted(file) + " is " + foreign.what + ", not an ONNX model; " + Advice(foreign, file);
  }
  switch (kind) {
    case FileKind::kEmpty: return Quoted(file) + " is empty; download or export it again";
    case FileKind::kHtml:
      return Quoted(file) +
             " is an HTML page, not an ONNX model: the download gave a page of an "
             "error or of the file's web site; download the file itself";
    case FileKind::kGzip:
    case FileKind::kZstd:
    case FileKind::kXz:
    case FileKind::kBzip2:
    case FileKind::kLz4:
    case FileKind::kSevenZip:
    case FileKind::kTar:
    case FileKind::kZip:
      return Quoted(file) + " is " + std::string(NameOf(kind)) +
             (kind == FileKind::kZip || kind == FileKind::kTar || kind == FileKind::kSevenZip
                  ? ", not an ONNX model"
                  : "") +
             "; unpack it first";
    case FileKind::kUnknown: return "";
    default: return Quoted(file) + " is " + std::string(NameOf(kind)) + ", not an ONNX model";
  }
}

std::string WhyUnreadable(const fs::path& file, std::span<const std::byte> bytes) {
  std::optional<Foreign> foreign = Recognise(file, FileKind::kUnknown);
  const std::string_view head = HeadOf(bytes);
  for (const TellingWord& telling : kWords) {
    const bool told = head.find(telling.word) != std::string_view::npos;
    if (!foreign && told) foreign = Foreign{std::string(telling.what), telling.framework};
  }
  if (foreign) {
    return Quoted(file) + " is " + foreign->what + ", not an ONNX model; " + Advice(*foreign, file);
  }
  return Quoted(file) + " is not an ONNX model" + Quote(head) +
         ", or it is truncated: its protobuf does not parse";
}

}  // namespace ptq
