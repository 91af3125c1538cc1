// A loop that answers requests with the precision that each asks for, over one session.
//
//   service BUNDLE < requests
//
// BUNDLE is a directory written by `quantize bundle` (a graph with the input that chooses) of a
// language model that reads input_ids and gives logits. A request is a line of the name of a
// precision and token ids, "int4 1 17 29"; the answer is the token that the model thinks comes
// next. Build: c++ -std=c++17 service.cc -I<onnxruntime>/include -L<onnxruntime>/lib -lonnxruntime
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <onnxruntime_cxx_api.h>

namespace {

constexpr char kPrecision[] = "precision";  // the name that bundle gives the input by default

class SwitchingModel {
 public:
  explicit SwitchingModel(const std::filesystem::path& directory)
      : session_(env_, (directory / "model.onnx").c_str(), Ort::SessionOptions()) {
    // The entry is JSON: {"input":"precision","values":["fp32","int4"],"default":0}. A service
    // would parse it; the names between the brackets are all that is needed here.
    Ort::AllocatorWithDefaultOptions allocator;
    const auto entry = session_.GetModelMetadata().LookupCustomMetadataMapAllocated(
        "quantization.bundle", allocator);
    if (entry == nullptr) throw std::runtime_error("no bundle with an input that chooses");
    const std::string text = entry.get();
    size_t at = text.find('[');
    const size_t end = text.find(']');
    while (at < end) {
      const size_t open = text.find('"', at);
      const size_t close = text.find('"', open + 1);
      if (open > end) break;
      names_.push_back(text.substr(open + 1, close - open - 1));
      at = close + 1;
    }
  }

  /// The most likely next token. Throws std::runtime_error for an unknown precision.
  int64_t Next(const std::string& precision, std::vector<int64_t> ids) {
    const auto found = std::find(names_.begin(), names_.end(), precision);
    if (found == names_.end()) throw std::runtime_error("unknown precision '" + precision + "'");
    int64_t chosen = found - names_.begin();
    const std::vector<int64_t> shape = {1, static_cast<int64_t>(ids.size())};
    std::vector<int64_t> mask(ids.size(), 1), positions(ids.size());
    for (size_t i = 0; i < ids.size(); ++i) positions[i] = static_cast<int64_t>(i);

    std::vector<const char*> inputs;
    std::vector<Ort::Value> values;
    const auto feed = [&](const char* name, std::vector<int64_t>& data) {
      inputs.push_back(name);
      values.push_back(Ort::Value::CreateTensor<int64_t>(memory_, data.data(), data.size(),
                                                         shape.data(), shape.size()));
    };
    feed("input_ids", ids);
    if (HasInput("attention_mask")) feed("attention_mask", mask);
    if (HasInput("position_ids")) feed("position_ids", positions);
    // The choice is a scalar: no dimensions. Left out, the default of the bundle runs.
    inputs.push_back(kPrecision);
    values.push_back(Ort::Value::CreateTensor<int64_t>(memory_, &chosen, 1, nullptr, 0));

    const char* const output = "logits";
    const auto results =
        session_.Run(Ort::RunOptions(), inputs.data(), values.data(), values.size(), &output, 1);
    const auto sizes = results[0].GetTensorTypeAndShapeInfo().GetShape();
    const int64_t vocabulary = sizes.back();
    const float* const last =
        results[0].GetTensorData<float>() + (static_cast<int64_t>(ids.size()) - 1) * vocabulary;
    return std::max_element(last, last + vocabulary) - last;
  }

 private:
  bool HasInput(const std::string& name) {
    Ort::AllocatorWithDefaultOptions allocator;
    for (size_t i = 0; i < session_.GetInputCount(); ++i) {
      if (session_.GetInputNameAllocated(i, allocator).get() == name) return true;
    }
    return false;
  }

  Ort::Env env_{ORT_LOGGING_LEVEL_ERROR, "switching"};
  Ort::Session session_;
  Ort::MemoryInfo memory_ = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  std::vector<std::string> names_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: service BUNDLE < requests\n";
    return 2;
  }
  try {
    SwitchingModel model(argv[1]);
    std::string line;
    while (std::getline(std::cin, line)) {
      std::istringstream words(line);
      std::string precision;
      words >> precision;
      std::vector<int64_t> ids;
      for (int64_t id = 0; words >> id;) ids.push_back(id);
      if (!ids.empty()) std::cout << model.Next(precision, std::move(ids)) << std::endl;
    }
  } catch (const std::exception& error) {
    std::cerr << "service: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
