// Keeps activations on a cut, compactly, in memory and in a file without a name.
#include "ptq/calibrate/cut_store.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <mutex>
#include <span>
#include <string>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include "ptq/base/disk.h"
#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/half.h"
#include "ptq/base/memory.h"
#include "ptq/tensor/sequence.h"

namespace ptq {
namespace {

/// Binary16 keeps 11 bits of numbers between these; a tensor whose largest value lies outside stays
/// float32.
constexpr float kSmallestLargest = 0x1p-4f;
constexpr float kLargestLargest = 0x1p15f;
/// First bytes of a saved file.
constexpr char kMagic[8] = {'p', 't', 'q', 'c', 'u', 't', '0', '1'};

using Bytes = std::vector<std::byte, LongLived>;

/// What stands in front of each tensor's elements.
struct Header {
  int32_t id;
  int32_t dtype;
  int32_t stored;  ///< element type of the bytes that follow
  int32_t rank;
};

template <class T>
void Append(Bytes& out, const T& value) {
  const auto* bytes = reinterpret_cast<const std::byte*>(&value);
  out.insert(out.end(), bytes, bytes + sizeof(T));
}

bool FitsHalf(const Tensor& tensor) {
  if (tensor.dtype() != DType::kFloat32) return false;
  float largest = 0;
  for (const float value : tensor.data<float>()) {
    const float magnitude = std::abs(value);
    if (!(magnitude <= kLargestLargest)) return false;
    largest = std::max(largest, magnitude);
  }
  return largest >= kSmallestLargest;
}

void Encode(ValueId id, const Tensor& tensor, CutStore::Keep keep, Bytes& out) {
  const bool half = keep == CutStore::Keep::kCompact && FitsHalf(tensor);
  const DType stored = half ? DType::kFloat16 : tensor.dtype();
  Append(out, Header{id, int32_t(tensor.dtype()), int32_t(stored), int32_t(tensor.rank())});
  for (const int64_t dim : tensor.shape()) Append(out, dim);
  if (tensor.dtype() == kSequence) {
    for (const Tensor& element : ElementsOf(tensor)) Encode(kNoValue, element, keep, out);
    return;
  }
  const size_t at = out.size();
  out.resize(at + size_t(BytesOf(stored, tensor.size())));
  if (half) {
    std::vector<Half> halves(size_t(tensor.size()));
    Convert(tensor.data<float>(), halves);
    std::memcpy(out.data() + at, halves.data(), halves.size() * sizeof(Half));
  } else if (out.size() > at) {
    std::memcpy(out.data() + at, tensor.bytes().data(), out.size() - at);
  }
}

Bytes Encode(const Values& values, CutStore::Keep keep) {
  std::vector<ValueId> ids;
  for (const auto& [id, tensor] : values) ids.push_back(id);
  std::ranges::sort(ids);
  Bytes out;
  for (const ValueId id : ids) Encode(id, values.at(id), keep, out);
  out.shrink_to_fit();
  return out;
}

/// Reads from the front of the bytes, which came from Encode.
class Decoder {
 public:
  explicit Decoder(std::span<const std::byte> bytes) : bytes_(bytes) {}
  [[nodiscard]] bool done() const { return bytes_.empty(); }
  template <class T>
  T Next() {
    T value;
    std::memcpy(&value, Take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  std::span<const std::byte> Take(size_t count) {
    if (count > bytes_.size()) throw InputError("stored activations are cut short");
    const auto part = bytes_.first(count);
    bytes_ = bytes_.subspan(count);
    return part;
  }

 private:
  std::span<const std::byte> bytes_;
};

Tensor Decode(Decoder& decoder, const Header& header) {
  Shape shape;
  for (int32_t i = 0; i < header.rank; ++i) shape.push_back(decoder.Next<int64_t>());
  if (DType(header.dtype) == kEmptyOptional) return EmptyOptional();
  if (DType(header.dtype) == kSequence) {
    std::vector<Tensor> elements;
    for (int64_t i = 0; i < shape.at(0); ++i) {
      elements.push_back(Decode(decoder, decoder.Next<Header>()));
    }
    return MakeSequence(std::move(elements));
  }
  Tensor stored(DType(header.stored), shape);
  const auto data = decoder.Take(stored.bytes().size());
  if (!data.empty()) std::memcpy(stored.mutable_bytes().data(), data.data(), data.size());
  return header.stored == header.dtype ? stored : stored.ToFloat32();
}

Values Decode(std::span<const std::byte> bytes) {
  Values values;
  Decoder decoder(bytes);
  while (!decoder.done()) {
    const auto header = decoder.Next<Header>();
    values[header.id] = Decode(decoder, header);
  }
  return values;
}

}  // namespace

/// A file without a name for what does not fit in memory; any thread, any place.
class ScratchFile {
 public:
  explicit ScratchFile(const std::filesystem::path& directory) : directory_(directory) {
    std::string name = (directory / ".activations-XXXXXX").string();
    fd_ = ::mkstemp(name.data());
    if (fd_ < 0) Fail("create a scratch file");
    ::unlink(name.c_str());
  }
  ~ScratchFile() { ::close(fd_); }
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  void Write(std::span<const std::byte> bytes, int64_t offset) const {
    while (!bytes.empty()) {
      const ssize_t count = ::pwrite(fd_, bytes.data(), bytes.size(), offset);
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) Fail("write activations");
      bytes = bytes.subspan(size_t(count));
      offset += count;
    }
  }
  void Read(std::span<std::byte> bytes, int64_t offset) const {
    while (!bytes.empty()) {
      const ssize_t count = ::pread(fd_, bytes.data(), bytes.size(), offset);
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) Fail("read activations back");
      bytes = bytes.subspan(size_t(count));
      offset += count;
    }
  }

 private:
  [[noreturn]] void Fail(const char* what) const {
    const int error = errno;
    const std::string text = "cannot " + std::string(what) + " in '" + directory_.string() +
                             "': " + std::strerror(error);
    if (IsNoSpace(error)) throw NoSpaceError(text);
    throw OutputError(text);
  }
  std::filesystem::path directory_;
  int fd_ = -1;
};

struct CutStore::State {
  /// Either in memory or, with a length, at an offset of the file.
  struct Slot {
    std::shared_ptr<const Bytes> bytes = std::make_shared<const Bytes>();
    int64_t offset = 0;
    int64_t capacity = 0;  ///< of the place in the file
    int64_t length = 0;

    [[nodiscard]] std::shared_ptr<const Bytes> Read(const ScratchFile* stored) const {
      if (length == 0) return bytes;
      auto read = std::make_shared<Bytes>(size_t(length));
      stored->Read(*read, offset);
      return read;
    }
  };
  std::vector<Slot> slots;
  int64_t memory_limit;
  std::filesystem::path directory;
  std::mutex mutex;  ///< of the totals and the file's end
  int64_t memory = 0;
  int64_t file_end = 0;
  std::shared_ptr<ScratchFile> file;

  void Store(Slot& slot, Bytes bytes) {
    const auto size = int64_t(bytes.size());
    bool in_memory = false;
    {
      const std::lock_guard lock(mutex);
      memory -= int64_t(slot.bytes->size());
      in_memory = memory + size <= memory_limit;
      if (in_memory) {
        memory += size;
      } else if (size > slot.capacity) {
        if (file == nullptr) file = std::make_shared<ScratchFile>(directory);
        slot.offset = file_end;
        slot.capacity = size;
        file_end += size;
      }
    }
    slot.length = in_memory ? 0 : size;
    if (!in_memory) file->Write(bytes, slot.offset);
    slot.bytes = std::make_shared<const Bytes>(in_memory ? std::move(bytes) : Bytes());
  }
};

CutStore::CutStore(size_t blocks, int64_t memory_limit, std::filesystem::path scratch)
    : state_(std::make_unique<State>()) {
  state_->slots.resize(blocks);
  state_->memory_limit = memory_limit;
  state_->directory = std::move(scratch);
}

CutStore::~CutStore() = default;
CutStore::CutStore(CutStore&&) noexcept = default;
CutStore& CutStore::operator=(CutStore&&) noexcept = default;

size_t CutStore::size() const { return state_->slots.size(); }

void CutStore::Put(size_t block, const Values& values, Keep keep) {
  state_->Store(state_->slots.at(block), Encode(values, keep));
}

Values CutStore::Get(size_t block) const {
  return Decode(*state_->slots.at(block).Read(state_->file.get()));
}

Values CutStore::Take(size_t block) {
  Values values = Get(block);
  State::Slot& slot = state_->slots.at(block);
  const std::lock_guard lock(state_->mutex);
  state_->memory -= int64_t(slot.bytes->size());
  slot.bytes = std::make_shared<const Bytes>();
  slot.length = 0;
  return values;
}

int64_t CutStore::memory_bytes() const { return state_->memory; }
int64_t CutStore::file_bytes() const { return state_->file_end; }

struct CutStore::Image::Parts {
  /// Of each block.
  std::vector<State::Slot> slots;
  std::shared_ptr<const ScratchFile> file;  ///< null when everything is in memory
};

CutStore::Image CutStore::TakeImage() const {
  Image image;
  image.parts_ = std::make_shared<const Image::Parts>(Image::Parts{state_->slots, state_->file});
  return image;
}

bool CutStore::Image::IsLasting() const { return parts_->file == nullptr; }

void CutStore::Image::Save(const std::filesystem::path& path) const {
  FileWriter writer(path);
  writer.Write(std::as_bytes(std::span(kMagic)));
  const auto count = int64_t(parts_->slots.size());
  writer.Write(std::as_bytes(std::span(&count, 1)));
  for (const State::Slot& slot : parts_->slots) {
    const auto bytes = slot.Read(parts_->file.get());
    const auto size = int64_t(bytes->size());
    writer.Write(std::as_bytes(std::span(&size, 1)));
    writer.Write(*bytes);
  }
  writer.Close();
}

void CutStore::Load(const std::filesystem::path& path) {
  const auto file = MappedFile::Open(path);
  Decoder decoder(file->bytes());
  const auto magic = decoder.Take(sizeof(kMagic));
  const auto count = decoder.Next<int64_t>();
  if (std::memcmp(magic.data(), kMagic, sizeof(kMagic)) != 0 || count != int64_t(size())) {
    throw InputError("'" + path.string() + "' does not hold the activations of this run");
  }
  for (State::Slot& slot : state_->slots) {
    const auto size = decoder.Next<int64_t>();
    if (size < 0) throw InputError("'" + path.string() + "' is malformed");
    const auto bytes = decoder.Take(size_t(size));
    state_->Store(slot, Bytes(bytes.begin(), bytes.end()));
    file->Drop(bytes);
  }
}

}  // namespace ptq
