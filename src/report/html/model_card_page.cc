// Gathers what a model card tells, and renders its template.
#include "ptq/report/model_card_page.h"

#include <algorithm>
#include <system_error>
#include <utility>
#include <vector>

#include "templates.h"

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/format.h"
#include "ptq/base/json.h"
#include "ptq/emit/model_card.h"
#include "ptq/emit/sidecars.h"
#include "ptq/model/graph.h"
#include "ptq/model/model.h"
#include "ptq/report/report.h"
#include "ptq/report/table.h"
#include "ptq/text/template.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr char kCard[] = "README.md";

/// A JSON object beside the model, or an empty one.
Json ObjectIn(const fs::path& file) {
  std::error_code error;
  if (!fs::is_regular_file(file, error)) return Json::object();
  Json json = ParseJson<Json>(ReadTextFile(file));
  return json.is_object() ? json : Json::object();
}

/// The Hub's word for what a model does; empty where config.json does not tell.
std::string PipelineTag(const fs::path& result) {
  std::error_code error;
  if (fs::exists(result / "modules.json", error)) return "sentence-similarity";
  const Json config = ObjectIn(result / "config.json");
  const Json names = config.value("architectures", Json::array());
  if (!names.is_array() || names.empty() || !names.front().is_string()) return "";
  const auto name = names.front().get<std::string>();
  static constexpr std::pair<std::string_view, const char*> kTags[] = {
      {"ForCausalLM", "text-generation"},
      {"LMHeadModel", "text-generation"},
      {"ForMaskedLM", "fill-mask"},
      {"ForSequenceClassification", "text-classification"},
      {"ForTokenClassification", "token-classification"},
      {"ForQuestionAnswering", "question-answering"},
      {"ForImageClassification", "image-classification"},
      {"ForSpeechSeq2Seq", "automatic-speech-recognition"}};
  for (const auto& [ending, tag] : kTags) {
    if (name.ends_with(ending)) return tag;
  }
  return name.ends_with("Model") ? "feature-extraction" : "";
}

/// Text as a scalar of YAML, whose double-quoted strings include those of JSON.
std::string YamlText(const std::string& text) { return DumpJson(Json(text)); }

std::string FrontMatter(const Json& document, const std::string& card, const std::string& base) {
  std::vector<std::pair<std::string, std::string>> defaults;
  if (!base.empty()) {
    defaults.emplace_back("base_model", "base_model: " + YamlText(base));
    defaults.emplace_back("base_model_relation", "base_model_relation: quantized");
  }
  const bool in_browser = document["transformers_js"].get<bool>();
  defaults.emplace_back("library_name",
                        std::string("library_name: ") + (in_browser ? "transformers.js" : "onnx"));
  if (document["pipeline_tag"].is_string()) {
    defaults.emplace_back("pipeline_tag",
                          "pipeline_tag: " + document["pipeline_tag"].get<std::string>());
  }
  std::string tags = "tags:\n- onnx\n- onnxruntime\n- quantized";
  const Json bits = document["summary"]["bits"];
  if (bits.is_number_integer()) tags += "\n- int" + DumpJson(bits);
  defaults.emplace_back("tags", tags);
  return FrontMatterWith(card, defaults);
}

/// The model files below a result, as a card names them.
std::vector<std::string> ModelFilesIn(const Json& metadata) {
  std::vector<std::string> files;
  for (const Json& file : metadata.value("files", Json::array())) {
    const auto name = file.at("file").get<std::string>();
    if (name.ends_with(".onnx")) files.push_back(name);
  }
  return files;
}

/// The inputs of a model, when all of them are made of token ids by the lines of the card.
bool TakesTokensAlone(const fs::path& model) {
  constexpr std::string_view kMade[] = {"input_ids", "attention_mask", "position_ids",
                                        "token_type_ids"};
  const Model loaded = Model::Load(model);
  const Graph graph(loaded);
  bool ids = false;
  for (const ValueId input : graph.graph_inputs()) {
    const std::string& name = graph.value(input).name;
    if (std::ranges::find(kMade, name) == std::end(kMade)) return false;
    ids = ids || name == "input_ids";
  }
  return ids;
}

/// Sizes and losses as people read them.
Json ShownFigures(const Json& summary) {
  Json shown = Json::object();
  for (const char* key : {"bytes_before", "bytes_after"}) {
    shown[key] = summary[key].is_number() ? FormatBytes(summary[key].get<int64_t>()) : "";
  }
  for (const char* key : {"relative_loss", "relative_loss_rtn"}) {
    shown[key] = summary[key].is_number() ? FormatPercent(summary[key].get<double>()) : "";
  }
  const Json& bits = summary["bits_per_weight"];
  shown["bits_per_weight"] = bits.is_number() ? FormatNumber(bits.get<double>(), 3) : "";
  return shown;
}

}  // namespace

void CheckCard(const CardRequest& request) {
  (void)RenderTemplate({{"card.md", ""}}, "card.md", Json::object());  // whether this build can
  if (!request.template_source.empty()) (void)ReadTextFile(request.template_source);
}

std::string ModelCard(const CardRequest& request, const fs::path& result, const Json& metadata) {
  std::error_code error;
  const fs::path& source = request.source;
  const fs::path folder = SidecarDirectory(
      fs::is_directory(source, error) ? source : fs::absolute(source).parent_path());
  const std::string base = HubIdOf(folder);
  const fs::path copied = result / kCard;
  const std::string card = fs::exists(copied, error) ? ReadTextFile(copied) : "";
  Json document = ReportOf(metadata);
  const std::string title = TitleOf(folder);
  const std::vector<std::string> models = ModelFilesIn(metadata);
  document["title"] = title;
  document["base_model"] = base.empty() ? Json(nullptr) : Json(base);
  const std::string tag = PipelineTag(result);
  document["pipeline_tag"] = tag.empty() ? Json(nullptr) : Json(tag);
  document["models"] = models;
  document["genai"] = fs::exists(result / "genai_config.json", error);
  document["transformers_js"] = ObjectIn(result / "config.json").contains("transformers.js_config");
  document["tokenizer"] = fs::exists(result / "tokenizer.json", error);
  document["takes_tokens"] = models.size() == 1 && TakesTokensAlone(result / models.front());
  document["shown"] = ShownFigures(document["summary"]);
  document["source_card"] = BodyOfCard(card);
  document["front_matter"] = FrontMatter(document, card, base);
  const std::string text = request.template_source.empty() ? std::string(CardTemplate())
                                                           : ReadTextFile(request.template_source);
  return RenderTemplate({{"card.md", text}}, "card.md", document);
}

}  // namespace ptq
