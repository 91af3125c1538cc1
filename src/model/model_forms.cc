// Tells forms of one model by the suffixes of their names, as exporters and publishers write them.
#include "ptq/model/model_forms.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "foreign_model.h"

#include "ptq/base/error.h"
#include "ptq/base/folders.h"
#include "ptq/base/letters.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;

enum Rank { kPlain = 0, kFloat32, kOptimized, kBFloat16, kFloat16 };

bool IsAny(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::ranges::find(words, word) != words.end();
}

/// "q4f16" is "q", 4, "f16".
struct Word {
  std::string letters;
  int digits = -1;  ///< -1: none
  std::string rest;
};

Word Parse(const std::string& text) {
  const auto digit = [](unsigned char c) { return std::isdigit(c) != 0; };
  const auto begin = std::ranges::find_if(text, digit);
  const auto end = std::find_if_not(begin, text.end(), digit);
  Word word{{text.begin(), begin}, -1, {end, text.end()}};
  if (begin != end && end - begin < 4) word.digits = std::stoi(std::string(begin, end));
  return word;
}

/// The form that one word of a name tells; nothing when it tells none.
std::optional<int> RankOfWord(const std::string& text) {
  if (IsAny(text, {"float", "fp32", "f32", "float32"})) return kFloat32;
  if (IsAny(text, {"o1", "o2", "o3", "opt", "optimized", "optimised", "sim", "simplified"})) {
    return kOptimized;
  }
  if (IsAny(text, {"bf16", "bfloat16"})) return kBFloat16;
  if (IsAny(text, {"fp16", "f16", "float16", "half", "o4"})) return kFloat16;
  if (IsAny(text, {"quant", "quantized", "quantised", "qdq", "awq", "gptq", "hqq", "rtn"})) {
    return ModelForm::kQuantized;
  }
  const Word word = Parse(text);
  if (word.digits < 1 || word.digits > 16) return std::nullopt;
  const bool codes = IsAny(word.letters, {"q", "int", "uint", "qint", "quint", "bnb", "nf", "w"});
  const bool small =
      word.digits <= 8 && IsAny(word.letters, {"i", "u", "fp", "float", "mxfp", "nvfp"});
  const bool known_rest = word.rest.empty() || word.rest[0] == 'f' || word.rest[0] == 'a';
  if ((codes || small) && known_rest) return ModelForm::kQuantized;
  return std::nullopt;
}

/// Words that only say more of a form: `model_qint8_avx512_vnni`.
bool IsQualifier(const std::string& text) {
  if (IsAny(text, {"vnni", "arm64", "x64", "x86", "cpu", "gpu", "cuda", "dml", "webgpu", "mobile",
                   "dynamic", "static", "sym", "asym"})) {
    return true;
  }
  const Word word = Parse(text);
  return word.digits >= 0 && word.rest.empty() && IsAny(word.letters, {"avx", "block", "g"});
}

}  // namespace

ModelForm FormOfName(const std::string& stem) {
  ModelForm form{stem, kPlain};
  std::string left = stem;
  while (!left.empty()) {
    const size_t separator = left.find_last_of("_-.");
    const bool whole = separator == std::string::npos;
    const std::string word = Lower(whole ? left : left.substr(separator + 1));
    const auto rank = RankOfWord(word);
    if (!rank.has_value() && !IsQualifier(word)) break;
    left = whole ? "" : left.substr(0, separator);
    if (rank.has_value()) form.rank = std::max(form.rank, *rank);
    // A qualifier alone is a part of the name.
    if (form.rank != kPlain) form.base = left;
  }
  return form;
}

ModelChoice ChooseForms(std::vector<fs::path> files) {
  std::ranges::sort(files);
  std::map<std::pair<fs::path, std::string>, std::vector<std::pair<int, fs::path>>> models;
  for (const fs::path& file : files) {
    const ModelForm form = FormOfName(file.stem().string());
    models[{file.parent_path(), form.base}].emplace_back(form.rank, file);
  }
  ModelChoice choice;
  for (auto& [name, forms] : models) {
    std::ranges::stable_sort(forms, {}, &std::pair<int, fs::path>::first);
    const bool any_float = forms.front().first < ModelForm::kQuantized;
    for (size_t i = 0; i < forms.size(); ++i) {
      (i == 0 || !any_float ? choice.files : choice.left_out).push_back(forms[i].second);
    }
  }
  std::ranges::sort(choice.files);
  std::ranges::sort(choice.left_out);
  return choice;
}

std::vector<fs::path> OnnxFilesIn(const fs::path& directory) {
  std::vector<fs::path> found;
  for (const fs::path& entry : EntriesOf(directory)) {
    const bool hidden = entry.filename().string().starts_with(".");
    if (!hidden && entry.extension() == ".onnx") found.push_back(entry);
  }
  return found;
}

ModelChoice ChooseModel(const fs::path& source) {
  std::error_code error;
  if (!fs::exists(source, error)) {
    throw InputError(WhyMissing(source));
  }
  if (!fs::is_directory(source, error)) return {{source}, {}};
  for (const auto& directory : {source, source / "onnx"}) {
    ModelChoice choice = ChooseForms(OnnxFilesIn(directory));
    const auto base = [](const fs::path& file) { return FormOfName(file.stem().string()).base; };
    const auto others = [&](const std::string& name) {
      return [&, name](const fs::path& file) { return base(file) != name; };
    };
    const bool named = std::ranges::any_of(
        choice.files, [&](const fs::path& file) { return base(file) == "model"; });
    if (named) {
      std::erase_if(choice.files, others("model"));
      std::erase_if(choice.left_out, others("model"));
    }
    if (choice.files.size() == 1) return choice;
    if (choice.files.size() > 1) {
      throw InputError("'" + directory.string() + "' holds " + std::to_string(choice.files.size()) +
                       " models, and none of them is a float model named model.onnx; give one of "
                       "the files, such as '" +
                       choice.files.front().string() + "'");
    }
  }
  throw InputError(WhyNoModelIn(source));
}

std::string NamesOf(const std::vector<fs::path>& files) {
  std::string names;
  for (const fs::path& file : files) {
    names += (names.empty() ? "'" : ", '") + file.filename().string() + "'";
  }
  return names;
}

}  // namespace ptq
