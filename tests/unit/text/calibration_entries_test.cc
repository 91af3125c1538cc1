// Data sets are read by the names that they give their texts, conversations and pairs.
#include "small_tokenizer.h"
#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/text/calibration.h"
#include "ptq/text/calibration_files.h"
#include "ptq/text/chat_template.h"

namespace ptq {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using testing::SmallTokenizer;
using testing::TempDirectory;
using Ids = std::vector<int64_t>;

/// Roles are words of the vocabulary, so that ids tell who says what: w91 user, w92 assistant,
/// w93 system, w94 tool.
constexpr char kRoles[] =
    "{% for m in messages %}{{ {'user': 'w91', 'assistant': 'w92', 'system': 'w93', "
    "'tool': 'w94'}[m.role] }} {{ m.content }} {% endfor %}";

class CalibrationEntries : public ::testing::Test {
 protected:
  CalibrationEntries() { options_.add_special_tokens = false; }
  CalibrationSet Set(const std::string& content, const std::string& name = "a.jsonl",
                     const std::string& field = "") {
    const std::string path = directory_.Write(name, content).string();
    options_.files = {field.empty() ? path : path + ":" + field};
    return ReadCalibration(options_, &tokenizer_, chat_ ? &*chat_ : nullptr);
  }
  std::vector<Ids> Read(const std::string& content, const std::string& name = "a.jsonl",
                        const std::string& field = "") {
    return Set(content, name, field).ids;
  }
  std::string ErrorFor(const std::string& content, const std::string& name = "a.jsonl",
                       const std::string& field = "") {
    try {
      (void)Read(content, name, field);
    } catch (const InputError& error) {
      return error.what();
    }
    return "no error";
  }

  TempDirectory directory_;
  Tokenizer tokenizer_ = SmallTokenizer();
  std::optional<ChatTemplate> chat_ = ChatTemplate(kRoles);
  CalibrationOptions options_;
};

// ---- Conversations ------------------------------------------------------------------------------

TEST_F(CalibrationEntries, ShareGptHasOtherNamesForTheSame) {
  EXPECT_THAT(Read(R"({"id": "1", "conversations": [{"from": "system", "value": "w1"},
                   {"from": "human", "value": "w2"}, {"from": "gpt", "value": "w3"},
                   {"from": "observation", "value": "w4"}]})",
                   "a.json"),
              ElementsAre(Ids{93, 1, 91, 2, 92, 3, 94, 4}));
  EXPECT_THAT(Read(R"({"conversations": [{"role": "user", "content": "w2"}]})"),
              ElementsAre(Ids{91, 2}));
}

TEST_F(CalibrationEntries, RowsWithoutAConversationAreEmpty) {
  const CalibrationSet set =
      Set("{\"conversations\": null}\n{\"conversations\": [{\"from\": "
          "\"human\", \"value\": \"w1\"}]}\n");
  EXPECT_THAT(set.ids, ElementsAre(Ids{91, 1}));
  EXPECT_EQ(set.provenance.files.front().texts_empty, 1);
}

TEST_F(CalibrationEntries, MessagesMayBeAStringOfJsonOrTakeTurnsWithoutRoles) {
  EXPECT_THAT(Read(R"({"messages": "[{\"role\": \"user\", \"content\": \"w2\"}]"})"),
              ElementsAre(Ids{91, 2}));
  EXPECT_THAT(Read(R"({"dialog": ["w1", "w2", "w3"]})"), ElementsAre(Ids{91, 1, 92, 2, 91, 3}));
  EXPECT_THAT(Read(R"([{"role": "user", "content": "w2"}])"
                   "\n"
                   R"([{"role": "user", "content": "w3"}])"),
              ElementsAre(Ids{91, 2}, Ids{91, 3}));
}

TEST_F(CalibrationEntries, AlpacaIsAConversationWhereThereIsATemplate) {
  const std::string line = R"({"instruction": "w1", "input": "w2", "output": "w3", "text": "w9"})"
                           "\n"
                           R"({"instruction": "w4", "input": "", "output": "w5", "text": "w9"})";
  EXPECT_THAT(Read(line), ElementsAre(Ids{91, 1, 2, 92, 3}, Ids{91, 4, 92, 5}));
  chat_.reset();
  EXPECT_THAT(Read(line), ElementsAre(Ids{1, 2, 3}, Ids{4, 5}));
}

TEST_F(CalibrationEntries, RequestsAndAnswersHaveManyNames) {
  for (const char* line :
       {R"({"prompt": "w1", "completion": "w2"})", R"({"question": "w1", "answer": "w2"})",
        R"({"query": "w1", "response": "w2"})",
        R"({"prompt": "w1", "chosen": "w2", "rejected": "w3"})",
        R"({"question": "w1", "answers": {"text": ["w2"], "answer_start": [0]}})",
        R"({"problem": "w1", "solution": "w2"})"}) {
    EXPECT_THAT(Read(line), ElementsAre(Ids{91, 1, 92, 2})) << line;
  }
  EXPECT_THAT(Read(R"({"system_prompt": "w5", "question": "w1", "response": "w2"})"),
              ElementsAre(Ids{93, 5, 91, 1, 92, 2}));
}

TEST_F(CalibrationEntries, PreferencesGiveTheChosenAnswer) {
  const std::string prompt = R"([{"role": "user", "content": "w1"}])";
  const std::string answer = R"({"role": "assistant", "content": "w2"})";
  EXPECT_THAT(Read(R"({"prompt": )" + prompt + R"(, "chosen": [)" + answer +
                   R"(], "rejected": [{"role": "assistant", "content": "w3"}]})"),
              ElementsAre(Ids{91, 1, 92, 2}));
  EXPECT_THAT(Read(R"({"chosen": [{"role": "user", "content": "w1"}, )" + answer + "]}"),
              ElementsAre(Ids{91, 1, 92, 2}));
  EXPECT_THAT(Read(R"({"chosen": "w1 w2", "rejected": "w3"})"), ElementsAre(Ids{1, 2}));
}

TEST_F(CalibrationEntries, PartsAreJoinedWhereTheTemplateWritesThemOut) {
  const std::string line =
      R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "w1 "},
          {"type": "text", "text": "w2"}]}]})";
  const CalibrationSet joined = Set(line, "a.json");
  EXPECT_THAT(joined.ids, ElementsAre(Ids{91, 1, 2}));
  EXPECT_THAT(joined.provenance.notes, ElementsAre(HasSubstr("content parts")));
  chat_ = ChatTemplate("{% for m in messages %}w91{{ ' ' + m.content }}{% endfor %}");  // refuses
  EXPECT_THAT(Read(line, "a.json"), ElementsAre(Ids{91, 1, 2}));
}

TEST_F(CalibrationEntries, PartsAreKeptWhereTheTemplateTakesThem) {
  chat_ = ChatTemplate(
      "{% for m in messages %}{% for p in m.content %}w95 {{ p.text }} {% endfor %}{% endfor %}");
  const std::string parts = R"([{"type": "text", "text": "w1"}, {"type": "text", "text": "w2"}])";
  const CalibrationSet kept = Set(R"({"messages": [{"role": "user", "content": )" + parts + "}]}");
  EXPECT_THAT(kept.ids, ElementsAre(Ids{95, 1, 95, 2}));
  EXPECT_THAT(kept.provenance.notes, IsEmpty());
  // Such a template sees nothing of a plain text.
  EXPECT_THAT(Read(R"({"messages": [{"role": "user", "content": "w3"}]})"),
              ElementsAre(Ids{95, 3}));
}

TEST_F(CalibrationEntries, WhatATemplateRefusesIsSkippedWhenItIsRare) {
  chat_ = ChatTemplate(
      "{% if messages[0].role != 'user' %}{{ raise_exception('user first') }}{% endif %}"
      "{% for m in messages %}{{ m.content }} {% endfor %}");
  const auto line = [](const std::string& role, const std::string& text) {
    return R"({"messages": [{"role": ")" + role + R"(", "content": ")" + text + "\"}]}\n";
  };
  const CalibrationSet set = Set(line("user", "w1") + line("tool", "w2") + line("user", "w3"));
  EXPECT_THAT(set.ids, ElementsAre(Ids{1}, Ids{3}));
  EXPECT_THAT(set.provenance.notes,
              ElementsAre(AllOf(HasSubstr("1 of 3"), HasSubstr("a.jsonl:2"))));
  EXPECT_THAT(ErrorFor(line("user", "w1") + line("tool", "w2")), HasSubstr("user first"));
  // An assistant that speaks first is left out.
  EXPECT_THAT(Read(R"({"conversations": [{"from": "gpt", "value": "w1"},
                       {"from": "human", "value": "w2"}, {"from": "gpt", "value": "w3"}]})",
                   "a.json"),
              ElementsAre(Ids{2, 3}));
}

// ---- Pairs --------------------------------------------------------------------------------------

TEST_F(CalibrationEntries, PairsAreEncodedAsTheTokenizerJoinsThem) {
  options_.pairs = PairUse::kPair;
  for (const char* line :
       {R"({"query": "w1 w2", "document": "w3"})", R"({"query": "w1 w2", "passage": "w3"})",
        R"({"text": "w1 w2", "text_pair": "w3"})", R"({"query": "w1 w2", "positive": ["w3"]})",
        R"({"query": "w1 w2", "passages": {"is_selected": [1], "passage_text": ["w3"]}})",
        R"({"sentence1": "w1 w2", "sentence2": "w3", "label": 1})"}) {
    const CalibrationSet set = Set(line);
    EXPECT_THAT(set.ids, ElementsAre(Ids{1, 2, 3})) << line;
    EXPECT_THAT(set.types, ElementsAre(Ids{0, 0, 1})) << line;
  }
  const CalibrationSet three = Set(R"({"query": "w1", "positive": "w2", "negative": ["w3", "w4"]})"
                                   "\n{\"text\": \"w5\"}");
  EXPECT_THAT(three.ids, ElementsAre(Ids{1, 2}, Ids{1, 3}, Ids{1, 4}, Ids{5}));
  EXPECT_THAT(three.types, ElementsAre(Ids{0, 1}, Ids{0, 1}, Ids{0, 1}, Ids{}));
  EXPECT_THAT(Read("query,passage\nw1,w2\n", "a.csv"), ElementsAre(Ids{1, 2}));
}

TEST_F(CalibrationEntries, OtherModelsReadPairsAsTexts) {
  const std::string line = R"({"query": "w1", "document": "w2"})";
  EXPECT_THAT(Read(line), ElementsAre(Ids{1}, Ids{2}));
  options_.pairs = PairUse::kJoined;
  EXPECT_THAT(Read(line), ElementsAre(Ids{1, 2}));
}

TEST_F(CalibrationEntries, LongPairsAreCutAtTheLongerText) {
  options_.pairs = PairUse::kPair;
  options_.seq_len = 4;
  const CalibrationSet set = Set(R"({"query": "w1", "document": "w2 w3 w4 w5 w6"})");
  EXPECT_THAT(set.ids, ElementsAre(Ids{1, 2, 3, 4}));
  EXPECT_THAT(set.types, ElementsAre(Ids{0, 1, 1, 1}));
}

// ---- Files --------------------------------------------------------------------------------------

TEST_F(CalibrationEntries, AFieldLeadsToTheTexts) {
  EXPECT_THAT(Read(R"({"a": {"b": "w1"}, "text": "w9"})", "a.jsonl", "a.b"), ElementsAre(Ids{1}));
  EXPECT_THAT(Read(R"({"a": [{"b": "w1"}, {"b": "w2"}]})", "a.jsonl", "a.b"),
              ElementsAre(Ids{1}, Ids{2}));
  EXPECT_THAT(Read(R"({"a": [{"b": "w1"}, {"b": "w2"}]})", "a.jsonl", "a.1.b"),
              ElementsAre(Ids{2}));
  EXPECT_THAT(Read(R"({"a.b": "w1"})", "a.jsonl", "a.b"), ElementsAre(Ids{1}));
  EXPECT_THAT(Read(R"({"x": [{"role": "user", "content": "w1"}]})", "a.jsonl", "x"),
              ElementsAre(Ids{91, 1}));
  EXPECT_THAT(Read("Id,My Text\nw1,w2\n", "a.csv", "My Text"), ElementsAre(Ids{2}));
  EXPECT_THAT(Read(R"({"data": [{"a": {"b": "w1"}}, {"a": {"b": "w2"}}]})", "a.json", "a.b"),
              ElementsAre(Ids{1}, Ids{2}));
  EXPECT_THAT(ErrorFor(R"({"a": "w1"})", "a.jsonl", "b"),
              AllOf(HasSubstr("a.jsonl:1"), HasSubstr("\"b\""), HasSubstr("keys: a")));
}

TEST_F(CalibrationEntries, DocumentsHoldTheirEntriesInManyWays) {
  for (const char* text :
       {"{\n \"data\": [\n  {\"text\": \"w1\"},\n  {\"text\": \"w2\"}\n ]\n}",
        "{\"version\": 1, \"train\": [{\"text\": \"w1\"}], \"test\": [{\"text\": \"w2\"}]}",
        "{\"rows\": [{\"row_idx\": 0, \"row\": {\"text\": \"w1\"}}, {\"row\": {\"text\": "
        "\"w2\"}}]}",
        "{\n \"text\": \"w1\"\n}\n{\n \"text\": \"w2\"\n}", "{\"text\": [\"w1\", \"w2\"]}",
        "{\"text\": {\"0\": \"w1\", \"1\": \"w2\"}, \"id\": {\"0\": 5, \"1\": 6}}",
        "[\"w1\", \"w2\"]", "\xEF\xBB\xBF{\"text\": \"w1\"}\r\n\r\n{\"text\": \"w2\"}\r\n",
        "{\"text\": \"w1\"}\n{\"text\": null}\n{\"text\": \"w2\"}\n"}) {
    std::vector<Ids> wanted = {Ids{1}, Ids{2}};
    if (std::string(text).find("train") != std::string::npos) wanted.pop_back();
    for (const char* name : {"a.json", "a.jsonl", "a.txt", "a"}) {
      if (text[0] == '[' && name == std::string("a.txt")) continue;  // prose may begin so
      EXPECT_EQ(Read(text, name), wanted) << name << '\n' << text;
    }
  }
  EXPECT_THAT(Read("{\"text\": \"w1\"}\n{\"text\": \"w2\"}\n", "a.csv"),
              ElementsAre(Ids{1}, Ids{2}));
  EXPECT_THAT(Read("id,text\n1,w1\n2,w2\n", "a.json"), ElementsAre(Ids{1}, Ids{2}));
  EXPECT_THAT(Read("{\"story_no\": 3, \"words\": \"w1\"}\n"), ElementsAre(Ids{1}));
}

TEST_F(CalibrationEntries, PatternsStandForTheFilesThatMatch) {
  directory_.Write("b.jsonl", "{\"text\": \"w2\"}\n");
  directory_.Write("a.jsonl", "{\"text\": \"w1\"}\n");
  directory_.Write("c:d.jsonl", "{\"text\": \"w3\"}\n");
  std::filesystem::create_directory(directory_.path() / "x.jsonl");
  const auto read = [&](const std::string& word) {
    options_.files = {directory_.path() / word};
    return ReadCalibration(options_, &tokenizer_, nullptr).ids;
  };
  EXPECT_THAT(read("[ab].jsonl"), ElementsAre(Ids{1}, Ids{2}));
  EXPECT_THAT(read("*.jsonl"), SizeIs(3));
  EXPECT_THAT(read("*.jsonl:text"), SizeIs(3));
  EXPECT_THAT(read("c:d.jsonl"), ElementsAre(Ids{3}));
  EXPECT_THAT(read("c:d.jsonl:text"), ElementsAre(Ids{3}));
  try {
    (void)read("*.parquet");
    FAIL();
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("no file matches"), HasSubstr("*.parquet")));
  }
}

}  // namespace
}  // namespace ptq
