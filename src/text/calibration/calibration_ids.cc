// Finds token ids in the arrays of a file, and takes padding away.
#include "calibration_ids.h"

#include <map>
#include <span>

#include "ptq/base/error.h"
#include "ptq/base/file_kind.h"
#include "ptq/tensor/npz.h"

namespace ptq {
namespace {

using Arrays = std::map<std::string, Tensor>;

/// The array called `name`, with or without the prefix of model inputs; null when absent.
const Tensor* Find(const Arrays& arrays, const std::string& name) {
  for (const std::string& key : {name, "in." + name}) {
    if (const auto found = arrays.find(key); found != arrays.end()) return &found->second;
  }
  return nullptr;
}

void CheckIds(const Tensor& ids, const std::string& where) {
  if (ids.dtype() != DType::kInt32 && ids.dtype() != DType::kInt64) {
    throw InputError(where + ": token ids must be int32 or int64, not " +
                     std::string(DTypeName(ids.dtype())));
  }
  if (ids.rank() != 1 && ids.rank() != 2) {
    throw InputError(where + ": token ids must have shape [N, T] or [T], not " +
                     ToString(ids.shape()));
  }
}

/// The part of a row that the mask keeps. Padding may only be at the ends.
std::span<const int64_t> WithoutPadding(std::span<const int64_t> row, std::span<const int64_t> mask,
                                        const std::string& where) {
  size_t begin = 0;
  size_t end = row.size();
  while (begin < end && mask[begin] == 0) ++begin;
  while (end > begin && mask[end - 1] == 0) --end;
  for (size_t i = begin; i < end; ++i) {
    if (mask[i] == 0) {
      throw InputError(where +
                       ": attention_mask has zeros between ones; only padding at the ends "
                       "of a row is understood");
    }
  }
  return row.subspan(begin, end - begin);
}

}  // namespace

IdFile ReadCalibrationIds(const std::filesystem::path& path) {
  const std::string name = path.filename().string();
  IdFile file;
  const FileKind kind = KindOfFile(path);
  const bool single =
      kind == FileKind::kNpy || (kind != FileKind::kNpz && path.extension() == ".npy");
  file.format = single ? "npy" : "npz";
  Arrays arrays;
  if (file.format == "npz") {
    arrays = ReadNpz(path);
  } else {
    arrays.emplace("input_ids", ReadNpy(path));
  }
  const Tensor* ids = Find(arrays, "input_ids");
  if (ids == nullptr) {
    std::string names;
    for (const auto& [key, array] : arrays) names += (names.empty() ? "" : ", ") + key;
    throw InputError(name + ": no array \"input_ids\" or \"in.input_ids\" (there are: " +
                     (names.empty() ? "none" : names) + ")");
  }
  CheckIds(*ids, name);
  const Tensor* mask = Find(arrays, "attention_mask");
  if (mask != nullptr && mask->shape() != ids->shape()) {
    throw InputError(name + ": attention_mask has shape " + ToString(mask->shape()) +
                     ", input_ids " + ToString(ids->shape()) + "; they must be equal");
  }
  const std::vector<int64_t> values = ids->ToInt64s();
  const std::vector<int64_t> keep = mask == nullptr ? std::vector<int64_t>(values.size(), 1)
                                                    : mask->Cast(DType::kInt64).ToInt64s();
  const size_t length = static_cast<size_t>(ids->dim(-1));
  const size_t rows = ids->rank() == 1 ? 1 : static_cast<size_t>(ids->dim(0));
  for (size_t row = 0; row < rows; ++row) {
    const auto kept = WithoutPadding(std::span(values).subspan(row * length, length),
                                     std::span(keep).subspan(row * length, length),
                                     name + ": row " + std::to_string(row));
    if (kept.empty()) ++file.empty;
    file.rows.emplace_back(kept.begin(), kept.end());
  }
  return file;
}

}  // namespace ptq
