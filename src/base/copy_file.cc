// Copies a file chunk by chunk, between which an interrupt is noticed.
#include "ptq/base/copy_file.h"

#include <algorithm>

#include "ptq/base/file.h"
#include "ptq/base/interrupt.h"

namespace ptq {

void CopyFile(const std::filesystem::path& from, const std::filesystem::path& to) {
  constexpr size_t kChunk = 16 << 20;
  const auto file = MappedFile::Open(from);
  FileWriter writer(to);
  for (auto rest = file->bytes(); !rest.empty();) {
    CheckInterrupt();
    const auto part = rest.first(std::min(kChunk, rest.size()));
    writer.Write(part);
    file->Drop(part);
    rest = rest.subspan(part.size());
  }
  writer.Finish();
}

}  // namespace ptq
