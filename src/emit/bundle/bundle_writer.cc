// Puts a bundle's graphs together and places each of their tensors once.
#include "ptq/emit/bundle_writer.h"

#include <limits>
#include <map>
#include <numeric>
#include <utility>

#include "bundle/bundle_tensors.h"
#include <nlohmann/json.hpp>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/json.h"
#include "ptq/base/progress.h"
#include "ptq/emit/metadata.h"
#include "ptq/emit/model_check.h"
#include "ptq/model/unique_names.h"
#include "ptq/transform/half_products.h"
#include "ptq/transform/marked_tensors.h"
#include "ptq/transform/tensor_store.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;

constexpr char kPropsPrefix[] = "quantization.";

void SetProps(onnx::ModelProto& model, const SwitchOptions& choice) {
  auto& props = *model.mutable_metadata_props();
  for (int i = props.size() - 1; i >= 0; --i) {
    if (props.Get(i).key().starts_with(kPropsPrefix)) props.DeleteSubrange(i, 1);
  }
  const auto add = [&](const std::string& key, const std::string& value) {
    auto* entry = model.add_metadata_props();
    entry->set_key(kPropsPrefix + key);
    entry->set_value(value);
  };
  add("tool", std::string("quantize ") + PTQ_VERSION);
  add("schema_version", kMetadataSchemaVersion);
  add("bundle",
      DumpJson(nlohmann::ordered_json{
          {"input", choice.input}, {"values", choice.names}, {"default", choice.default_model}}));
}

int64_t BytesOf(const TensorStore& store) {
  return std::accumulate(store.files().begin(), store.files().end(), int64_t{0});
}

}  // namespace

struct BundleWriter::State {
  State(const Model& first, const Model& second, BundleOptions given)
      : options(std::move(given)), tensors({&first, &second}), keys(tensors) {
    models = {first.proto(), second.proto()};
    sources = {&first, &second};
    for (int i = 0; i < 2; ++i) MarkedTensors::Mark(models[size_t(i)], i);
    for (onnx::ModelProto& model : models) keys.Count(model);
    const Progress progress("comparing the models");
    Account();
    if (options.form == BundleForm::kGraph) {
      MakeGraph();
    } else {
      written.assign(models.begin(), models.end());
    }
  }

  void MakeGraph() {
    for (onnx::ModelProto& model : models) SortNodes(*model.mutable_graph());
    UnifyVersions(models[0], models[1]);
    const auto equal = tensors.FindEqual(models[0].graph(), models[1].graph());
    DropUnsharedDefaults(models[0], models[1], equal);
    CheckSwitchable(models[0], models[1], options.choice.input);
    const Alignment alignment = AlignModels(models[0], models[1], equal, options.switch_form);
    if (alignment.regions.empty() || figures.own_bytes == std::array<int64_t, 2>{}) {
      throw UsageError("the models compute the same with the same weights; nothing to switch");
    }
    figures.regions = int64_t(alignment.regions.size());
    for (const auto& [node, partner] : alignment.common) {
      figures.common_nodes += alignment.constant[0].contains(node) ? 0 : 1;
    }
    written.push_back(MakeSwitched(models[0], models[1], alignment, options.choice));
    ShieldProducts(*written.back().mutable_graph());
    SetProps(written.back(), options.choice);
  }

  /// A product and its activation may have come into one branch.
  static void ShieldProducts(onnx::GraphProto& graph) {
    UniqueNames names(graph);
    ShieldHalfProducts(graph, {}, [&](const std::string& name) { return names.Take(name); });
  }

  /// How many bytes the models share.
  void Account() {
    std::array<std::map<std::string, int64_t>, 2> bytes;
    for (size_t i = 0; i < 2; ++i) {
      MarkedTensors::ForEach(models[i], [&](onnx::TensorProto& tensor, bool) {
        if (!MarkedTensors::HasBytes(tensor)) return;
        bytes[i].emplace(keys.Of(tensor), tensors.SizeOf(tensor));
      });
    }
    for (size_t i = 0; i < 2; ++i) {
      for (const auto& [key, size] : bytes[i]) {
        const bool shared = bytes[1 - i].contains(key);
        if (!shared) figures.own_bytes[i] += size;
        if (shared && i == 0) figures.shared_bytes += size;
      }
    }
  }

  BundleOptions options;
  std::array<const Model*, 2> sources{};
  std::array<onnx::ModelProto, 2> models;
  MarkedTensors tensors;
  ContentKeys keys;
  std::vector<onnx::ModelProto> written;
  BundleFigures figures;
};

BundleWriter::BundleWriter(const Model& first, const Model& second, BundleOptions options)
    : state_(std::make_unique<State>(first, second, std::move(options))) {}
BundleWriter::~BundleWriter() = default;

std::vector<fs::path> BundleWriter::ModelFiles() const {
  if (state_->options.form == BundleForm::kGraph) return {"model.onnx"};
  const auto& names = state_->options.choice.names;
  return {"model_" + names[0] + ".onnx", "model_" + names[1] + ".onnx"};
}

BundleFigures BundleWriter::Measure() const {
  BundleFigures figures = state_->figures;
  TensorPlacer placer(state_->tensors, state_->keys, DataFile());
  placer.store().OnlyMeasure();
  for (onnx::ModelProto model : state_->written) {
    placer.Place(model);
    figures.model_bytes += int64_t(model.ByteSizeLong());
  }
  figures.data_bytes = BytesOf(placer.store());
  return figures;
}

BundleFigures BundleWriter::Write(const fs::path& directory) const {
  BundleFigures figures = state_->figures;
  TensorPlacer placer(state_->tensors, state_->keys, directory / DataFile());
  const auto names = ModelFiles();
  {
    Progress progress("writing", int64_t(names.size()));
    for (size_t i = 0; i < names.size(); ++i) {
      onnx::ModelProto model = state_->written[i];
      placer.Place(model);
      if (model.ByteSizeLong() > size_t(std::numeric_limits<int>::max())) {
        throw UnsupportedError("'" + names[i].string() +
                               "' would be larger than 2 GiB without its weights");
      }
      std::string bytes;
      if (!model.SerializeToString(&bytes)) {
        throw InternalError("'" + names[i].string() + "' cannot be serialized");
      }
      figures.model_bytes += int64_t(bytes.size());
      WriteFile(directory / names[i], bytes);
      progress.Advance();
    }
    figures.data_bytes = BytesOf(placer.store());
    placer.store().Close();
  }
  const Progress progress("checking");
  for (size_t i = 0; i < names.size(); ++i) {
    CheckLoads(directory / names[i], state_->sources[i]->proto());
  }
  return figures;
}

}  // namespace ptq
