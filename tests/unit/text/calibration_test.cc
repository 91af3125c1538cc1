// How files become texts and texts become samples, and what is recorded of that.
#include "ptq/text/calibration.h"

#include <numeric>
#include <set>

#include "small_tokenizer.h"
#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "ptq/base/hash.h"
#include "ptq/base/parallel.h"
#include "ptq/text/chat_template.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using testing::SmallTokenizer;
using testing::TempDirectory;
using testing::Words;
using Ids = std::vector<int64_t>;

class CalibrationText : public ::testing::Test {
 protected:
  CalibrationSet Read(const std::string& name, const std::string& content,
                      const ChatTemplate* chat_template = nullptr) {
    options_.files = {directory_.Write(name, content)};
    return ReadCalibration(options_, &tokenizer_, chat_template);
  }
  static CalibrationOptions PlainOptions() {
    CalibrationOptions options;
    options.add_special_tokens = false;
    return options;
  }

  TempDirectory directory_;
  Tokenizer tokenizer_ = SmallTokenizer();
  CalibrationOptions options_ = PlainOptions();
};

TEST_F(CalibrationText, SplitsAtBlankLinesWhenThereAreSome) {
  const auto set = Read("a.txt", "w1\r\nw2\n \t\n\nw3\n");
  EXPECT_THAT(set.ids, ElementsAre(Ids{1, 2}, Ids{3}));
  EXPECT_EQ(set.provenance.options.split, TextSplit::kBlankLine);
}

TEST_F(CalibrationText, SplitsAtLinesOtherwise) {
  const auto set = Read("a.txt", "\xEF\xBB\xBF\nw1\nw2 w3\n\n");
  EXPECT_THAT(set.ids, ElementsAre(Ids{1}, Ids{2, 3}));
  EXPECT_EQ(set.provenance.options.split, TextSplit::kLine);
}

TEST_F(CalibrationText, SplitsAsToldTo) {
  options_.split = TextSplit::kLine;
  EXPECT_THAT(Read("a.txt", "w1\n\nw2\nw3").ids, ElementsAre(Ids{1}, Ids{2}, Ids{3}));
  options_.split = TextSplit::kDocument;
  EXPECT_THAT(Read("a.txt", "w1\n\nw2\nw3").ids, ElementsAre(Ids{1, 2, 3}));
}

TEST_F(CalibrationText, ReadsJsonLinesAndArrays) {
  EXPECT_THAT(Read("a.jsonl", "{\"text\": \"w1\"}\n\n{\"prompt\": \"w2\"}\n\"w3\"\n").ids,
              ElementsAre(Ids{1}, Ids{2}, Ids{3}));
  EXPECT_THAT(Read("a.json", "[{\"text\": \"w1\"},\n {\"prompt\": \"w2\"}]").ids,
              ElementsAre(Ids{1}, Ids{2}));
}

TEST_F(CalibrationText, TellsTheFormatOfAnUnknownExtensionByItsContent) {
  EXPECT_EQ(Read("a", "{\"text\": \"w1\"}\n").provenance.files.front().format, "jsonl");
  EXPECT_EQ(Read("a.data", " [\"w1\"]").provenance.files.front().format, "json");
  EXPECT_EQ(Read("a.md", "{w1 is not JSON\n").provenance.files.front().format, "txt");
}

TEST_F(CalibrationText, CountsEmptyTexts) {
  const auto set = Read("a.jsonl", "{\"text\": \" \"}\n{\"text\": \"w1\"}\n{\"messages\": []}\n");
  EXPECT_EQ(set.provenance.files.front().texts_empty, 2);
  EXPECT_EQ(set.provenance.files.front().texts_read, 1);
}

TEST_F(CalibrationText, AddsSpecialTokensOncePerText) {
  options_.add_special_tokens = true;
  options_.seq_len = 10;
  const auto set = Read("a.txt", Words(0, 18) + "\n");
  EXPECT_THAT(set.ids, ElementsAre(Ids{101, 0, 1, 2, 3, 4, 5, 6, 7, 8},
                                   Ids{9, 10, 11, 12, 13, 14, 15, 16, 17, 102}));
}

TEST_F(CalibrationText, CutsLongTextsIntoWindowsAndDropsATinyLastOne) {
  options_.seq_len = 16;
  const auto set = Read("a.txt", Words(0, 16 + 16 + 7) + "\n" + Words(0, 16 + 8) + "\nw5\n");
  std::vector<size_t> lengths;
  for (const auto& sample : set.ids) lengths.push_back(sample.size());
  EXPECT_THAT(lengths, ElementsAre(16, 16, 16, 8, 1));
  EXPECT_EQ(set.ids[1].front(), 16);
  EXPECT_EQ(set.provenance.files.front().texts_used, 3);
  EXPECT_EQ(set.provenance.tokens, 57);
}

TEST_F(CalibrationText, TruncatesAndKeepsTheEndTokenAtTheEnd) {
  options_.seq_len = 5;
  options_.long_text = LongText::kTruncate;
  EXPECT_THAT(Read("a.txt", Words(0, 9)).ids, ElementsAre(Ids{0, 1, 2, 3, 4}));
  options_.add_special_tokens = true;
  EXPECT_THAT(Read("a.txt", Words(0, 9)).ids, ElementsAre(Ids{101, 0, 1, 2, 102}));
  options_.seq_len = 2;  // no room for words between the special tokens
  EXPECT_THAT(Read("a.txt", Words(0, 9)).ids, ElementsAre(Ids{101, 0}));
}

TEST_F(CalibrationText, DrawsReproduciblyInFileOrderWithoutReplacement) {
  options_.samples = 20;
  std::string lines;
  for (int i = 0; i < 100; ++i) lines += "w" + std::to_string(i) + "\n";
  const auto set = Read("a.txt", lines);
  ASSERT_THAT(set.ids, SizeIs(20));
  EXPECT_TRUE(std::is_sorted(set.ids.begin(), set.ids.end()));
  EXPECT_THAT(std::set(set.ids.begin(), set.ids.end()), SizeIs(20));
  EXPECT_EQ(Read("a.txt", lines).ids, set.ids);
  options_.seed = 14;
  EXPECT_NE(Read("a.txt", lines).ids, set.ids);
}

TEST_F(CalibrationText, DrawsEveryTextEquallyOften) {
  std::string lines;
  for (int i = 0; i < 10; ++i) lines += "w" + std::to_string(i) + "\n";
  options_.samples = 3;
  std::vector<int> drawn(10, 0);
  for (options_.seed = 0; options_.seed < 1000; ++options_.seed) {
    for (const auto& sample : Read("a.txt", lines).ids) ++drawn[static_cast<size_t>(sample[0])];
  }
  // 300 expected, standard deviation √(1000 · 0.3 · 0.7) = 14.5; five of them.
  for (const int count : drawn) EXPECT_NEAR(count, 300, 73);
}

TEST_F(CalibrationText, DoesNotDependOnTheNumberOfThreads) {
  std::string lines;
  for (int i = 0; i < 300; ++i) lines += Words(i, 1 + i % 40) + "\n";
  options_.samples = 50;
  const auto reference = Read("a.txt", lines);
  for (const int threads : {1, 2, 4}) {
    const ThreadLimit limit(threads);
    EXPECT_EQ(Read("a.txt", lines).provenance.ids_sha256, reference.provenance.ids_sha256);
  }
}

TEST_F(CalibrationText, ThinsOutAFileWithFarTooMuchText) {
  std::string lines;
  while (lines.size() < (5u << 20)) lines += Words(static_cast<int>(lines.size() % 97), 300) + "\n";
  options_.samples = 4;
  options_.seq_len = 8;
  const auto set = Read("a.txt", lines);
  EXPECT_THAT(set.ids, SizeIs(4));
  ASSERT_THAT(set.provenance.notes, SizeIs(1));
  EXPECT_THAT(set.provenance.notes[0], HasSubstr("random"));
  EXPECT_EQ(Read("a.txt", lines).provenance.ids_sha256, set.provenance.ids_sha256);
}

TEST_F(CalibrationText, RendersConversationsWithoutAddingSpecialTokensAgain) {
  options_.add_special_tokens = true;
  const ChatTemplate chat("[B] {% for m in messages %}{{ m.content }} {% endfor %}");
  const auto set =
      Read("a.jsonl",
           R"({"messages": [{"role": "user", "content": "w1"}, {"role": "x", "content": "w2"}]})",
           &chat);
  EXPECT_THAT(set.ids, ElementsAre(Ids{101, 1, 2}));
  EXPECT_TRUE(set.provenance.notes.empty());
}

TEST_F(CalibrationText, WritesConversationsAsLinesWithoutATemplateAndSaysSo) {
  const auto set =
      Read("a.jsonl", R"({"messages": [{"role": "w1", "content": "w2"}, )"
                      R"({"role": "w3", "content": [{"type": "text", "text": "w4"}]}]})");
  // "w1:" and "w3:" are not words of the vocabulary.
  EXPECT_THAT(set.ids, ElementsAre(Ids{100, 2, 100, 4}));
  ASSERT_THAT(set.provenance.notes, SizeIs(1));
  EXPECT_THAT(set.provenance.notes[0], HasSubstr("no chat template"));
}

TEST_F(CalibrationText, MergesASystemMessageThatTheTemplateRefuses) {
  const ChatTemplate chat(
      "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
      "{% for m in messages %}{{ m.content }} {% endfor %}");
  const auto set = Read("a.jsonl",
                        R"({"messages": [{"role": "system", "content": "w1"}, )"
                        R"({"role": "user", "content": "w2"}]})",
                        &chat);
  EXPECT_THAT(set.ids, ElementsAre(Ids{1, 2}));
  ASSERT_THAT(set.provenance.notes, SizeIs(1));
  EXPECT_THAT(set.provenance.notes[0], HasSubstr("system"));
}

TEST_F(CalibrationText, RecordsWhatWasUsed) {
  const std::string content = Words(0, 20) + "\nw1 w2\n";
  const auto set = Read("a.txt", content);
  const CalibrationProvenance& provenance = set.provenance;
  EXPECT_EQ(provenance.files.front().name, "a.txt");
  EXPECT_EQ(provenance.files.front().sha256, Sha256Hex(std::string_view(content)));
  EXPECT_EQ(provenance.samples, 2);
  ASSERT_THAT(provenance.lengths, SizeIs(2));
  EXPECT_EQ(provenance.lengths[0].last, 16);
  EXPECT_EQ(provenance.lengths[0].count, 1);
  EXPECT_EQ(provenance.lengths[1].first, 17);
  EXPECT_EQ(provenance.lengths[1].count, 1);
  const auto json = ToJson(provenance);
  EXPECT_EQ(json["options"]["split"], "line");
  EXPECT_EQ(json["options"]["seed"], 13);
  EXPECT_EQ(json["tokens"], 22);
}

TEST_F(CalibrationText, HashesLengthsAndIdsAsLittleEndian64BitIntegers) {
  const auto set = Read("a.txt", "w1 w2\n");
  std::string bytes(24, '\0');
  bytes[0] = 2;
  bytes[8] = 1;
  bytes[16] = 2;
  EXPECT_EQ(set.provenance.ids_sha256, Sha256Hex(std::string_view(bytes)));
}

}  // namespace
}  // namespace ptq
