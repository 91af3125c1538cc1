// Keeps the texts of a file, or a random part of far too many.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "conversation.h"
#include "entries/entry.h"

#include "ptq/text/calibration.h"

namespace ptq {

struct SourceText {
  std::string text;
  std::string second = {};  ///< of a pair that is encoded as such
  bool pair = false;
  bool rendered = false;  ///< by a chat template: holds its special tokens already
  int64_t number = 0;     ///< place among the file's texts, from 1
};

/// Makes texts of what a file holds. Memory is bounded, however many there are.
class TextCollector : public EntrySink {
 public:
  /// `writer` must outlive this. Of more than four times `most_bytes` bytes and `most_texts` texts
  /// a random part is kept, by `seed` alone.
  TextCollector(ConversationWriter& writer, PairUse pairs, int64_t most_bytes, size_t most_texts,
                uint64_t seed)
      : writer_(&writer),
        pairs_(pairs),
        most_bytes_(most_bytes),
        most_texts_(most_texts),
        generator_(seed) {}

  void Text(std::string text) override;
  void Pair(std::string first, std::string second) override;
  void Conversation(OrderedJson messages, bool chat, const std::string& where) override;

  [[nodiscard]] int64_t read() const { return read_; }    ///< texts with something in them
  [[nodiscard]] int64_t empty() const { return empty_; }  ///< those without, dropped
  /// What was kept, in the file's order.
  [[nodiscard]] std::vector<SourceText> Take();

 private:
  struct Kept {
    uint64_t rank;  ///< random; the smallest stay
    SourceText text;
  };
  bool Wants();
  void Keep(SourceText text);
  void DropHalf();

  ConversationWriter* writer_;
  PairUse pairs_;
  int64_t most_bytes_;
  size_t most_texts_;
  std::mt19937_64 generator_;
  std::vector<Kept> kept_;
  uint64_t rank_ = 0;                ///< of the text at hand
  uint64_t largest_ = ~uint64_t{0};  ///< rank that is kept
  int64_t bytes_ = 0;
  int64_t read_ = 0;
  int64_t empty_ = 0;
};

}  // namespace ptq
