// Finds out what each side is, and puts tensors of one name side by side.
#include "ptq/flows/comparison.h"

#include <algorithm>
#include <map>

#include "metadata_file.h"

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/json.h"
#include "ptq/calibrate/source.h"
#include "ptq/emit/metadata.h"
#include "ptq/flows/evaluation.h"
#include "ptq/model/model.h"
#include "ptq/pipeline/directory.h"
#include "ptq/pipeline/run.h"
#include "ptq/pipeline/single_file.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Tensors = std::vector<std::pair<std::string, TensorState>>;

/// A model and the tensors in it.
// NOLINTNEXTLINE(bugprone-exception-escape): moving JSON does not throw
struct Described {
  ComparedModel model;
  Tensors tensors;
};

std::string CodesText(const Json& quantized) {
  const auto group = quantized.value("group_size", int64_t{0});
  std::string text = DumpJson(quantized.at("bits")) + " bits, " +
                     (group == 0 ? "channel" : "g" + std::to_string(group));
  const auto form = quantized.value("form", std::string("matmulnbits"));
  return form == "matmulnbits" ? text : text + ", " + form;
}

void AddStates(const Json& list, const std::string& prefix, Tensors& tensors) {
  for (const Json& entry : list) {
    TensorState state;
    const Json quantized = MemberOrNull(entry, "quantized");
    state.form = quantized.is_object() ? CodesText(quantized) : entry.value("decision", "");
    state.bytes = entry.at("bytes_after").get<int64_t>();
    const Json loss = MemberOrNull(quantized, "relative_loss");
    if (loss.is_number()) state.relative_loss = loss.get<double>();
    tensors.emplace_back(prefix + entry.at("name").get<std::string>(), std::move(state));
  }
}

Described DescribedBy(const Json& metadata, const fs::path& path) {
  Described described;
  described.model.path = path;
  described.model.recipe = MemberOrNull(metadata, "recipe");
  const bool several = metadata.contains("models");
  for (const Json& part : several ? metadata["models"] : Json::array({metadata})) {
    const std::string prefix = several ? part.value("file", std::string()) + ":" : "";
    const Json source = MemberOrNull(part, "source");
    described.model.source.push_back(
        {{"file", MemberOrNull(source, "file")}, {"sha256", MemberOrNull(source, "sha256")}});
    for (const char* kind : {"linears", "tables"}) {
      AddStates(part.value(kind, Json::array()), prefix, described.tensors);
    }
  }
  const Json sidecars = MemberOrNull(metadata, "sidecars");
  for (const Json& entry : metadata.value("files", Json::array())) {
    if (std::ranges::find(sidecars, MemberOrNull(entry, "file")) != sidecars.end()) continue;
    described.model.bytes += entry.at("bytes").get<int64_t>();
  }
  return described;
}

Described FromMetadata(const fs::path& path, const fs::path& file) {
  const auto metadata = ParseJson<Json>(ReadTextFile(file));
  if (!metadata.is_object() || (!metadata.contains("linears") && !metadata.contains("models"))) {
    throw InputError("'" + file.string() + "' is no metadata of a quantized model");
  }
  return WithJsonOf(file, [&] { return DescribedBy(metadata, path); });
}

/// A model as it is: what run would quantize of it, and as what that is stored.
Described FromModels(const fs::path& path) {
  Described described;
  described.model.path = path;
  const auto files = ModelFiles(path).files;
  for (const fs::path& file : files) {
    const std::string prefix = files.size() > 1 ? file.filename().string() + ":" : "";
    described.model.bytes += SourceBytes(Model::Load(file));
    Recipe recipe;
    recipe.source = file;
    recipe.method = "rtn";
    recipe.requantize = true;
    RunReport report;
    try {
      report = PlanRun(recipe);
    } catch (const UnsupportedError&) {
      continue;  // nothing to list
    }
    const auto add = [&](const Subject& subject, int64_t bytes) {
      described.tensors.emplace_back(
          prefix + subject.name,
          TensorState{std::string(DTypeName(subject.stored_type)), bytes, std::nullopt});
    };
    for (size_t i = 0; i < report.plan.linears.size(); ++i) {
      add(report.plan.linears[i], report.outcomes[i].bytes_before);
    }
    for (size_t i = 0; i < report.plan.tables.size(); ++i) {
      add(report.plan.tables[i], report.tables[i].bytes_before);
    }
  }
  return described;
}

Described Describe(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) {
    throw InputError("there is no file or directory '" + path.string() + "'");
  }
  const fs::path metadata = MetadataFileOf(path);
  return metadata.empty() ? FromModels(path) : FromMetadata(path, metadata);
}

std::vector<RecipeChange> RecipeChanges(const Json& a, const Json& b) {
  std::vector<RecipeChange> changes;
  if (!a.is_object() || !b.is_object()) return changes;
  for (const auto& [key, value] : a.items()) {
    if (MemberOrNull(b, key.c_str()) != value)
      changes.push_back({key, {value, MemberOrNull(b, key.c_str())}});
  }
  for (const auto& [key, value] : b.items()) {
    if (!a.contains(key)) changes.push_back({key, {nullptr, value}});
  }
  return changes;
}

std::vector<ComparedTensor> SideBySide(const Tensors& a, const Tensors& b) {
  std::vector<ComparedTensor> tensors;
  std::map<std::string, size_t> places;
  for (const auto& [name, state] : a) {
    places.emplace(name, tensors.size());
    tensors.push_back({name, {state, std::nullopt}});
  }
  for (const auto& [name, state] : b) {
    const auto place = places.find(name);
    if (place == places.end()) {
      tensors.push_back({name, {std::nullopt, state}});
    } else {
      tensors[place->second].states[1] = state;
    }
  }
  return tensors;
}

/// The model that is to be run: of a metadata file, what lies beside it.
fs::path RunnableOf(const fs::path& path) {
  if (path.extension() != ".json") return path;
  if (path.filename() != kMetadataFileName) return path.parent_path() / path.stem();
  return path.parent_path().empty() ? fs::path(".") : path.parent_path();
}

void Measure(const ComparisonRequest& request, Comparison& comparison) {
  EvaluationRequest evaluation;
  evaluation.text = request.text;
  evaluation.tokenizer = request.tokenizer;
  evaluation.reference =
      request.reference.empty() ? RunnableOf(request.sides[0]) : request.reference;
  for (size_t i = request.reference.empty() ? 1 : 0; i < 2; ++i) {
    evaluation.source = RunnableOf(request.sides[i]);
    comparison.sides[i].figures = FiguresOf(EvaluateModel(evaluation));
  }
}

}  // namespace

bool ComparedTensor::differs() const {
  const auto& [a, b] = states;
  return !a.has_value() || !b.has_value() || a->form != b->form || a->bytes != b->bytes ||
         a->relative_loss != b->relative_loss;
}

Comparison CompareModels(const ComparisonRequest& request) {
  Described a = Describe(request.sides[0]);
  Described b = Describe(request.sides[1]);
  Comparison comparison;
  comparison.recipe = RecipeChanges(a.model.recipe, b.model.recipe);
  comparison.tensors = SideBySide(a.tensors, b.tensors);
  if (!a.model.source.is_null() && !b.model.source.is_null()) {
    comparison.same_source = a.model.source == b.model.source;
  }
  comparison.sides = {std::move(a.model), std::move(b.model)};
  if (!request.text.empty()) Measure(request, comparison);
  return comparison;
}

}  // namespace ptq
