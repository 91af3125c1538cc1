// Calibration files are read for what they hold, whatever they are called.
#include <array>

#include "small_tokenizer.h"
#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <zlib.h>

#include "ptq/base/error.h"
#include "ptq/tensor/npz.h"
#include "ptq/text/calibration.h"

namespace ptq {
namespace {

using std::string_literals::operator""s;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::SmallTokenizer;
using testing::TempDirectory;
using Ids = std::vector<int64_t>;

std::string Gzip(std::string text) {
  std::array<char, 4096> packed{};
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
  stream.next_in = reinterpret_cast<Bytef*>(text.data());
  stream.avail_in = uInt(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = uInt(packed.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  const size_t size = packed.size() - stream.avail_out;
  deflateEnd(&stream);
  return {packed.data(), size};
}

/// Two bytes for each character of an ASCII text.
std::string Wide(const std::string& text, bool little) {
  std::string wide;
  for (const char c : text) wide += little ? std::string{c, '\0'} : std::string{'\0', c};
  return wide;
}

class CalibrationContent : public ::testing::Test {
 protected:
  CalibrationSet Read(const std::string& name, const std::string& content) {
    options_.files = {directory_.Write(name, content)};
    return ReadCalibration(options_, &tokenizer_, nullptr);
  }
  std::string ErrorFor(const std::string& name, const std::string& content) {
    try {
      (void)Read(name, content);
    } catch (const InputError& error) {
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
      return error.what();
    }
    return "no error";
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

TEST_F(CalibrationContent, UnpacksGzipUnderAnyName) {
  const std::string packed = Gzip("{\"text\": \"w1 w2\"}\n{\"prompt\": \"w3\"}\n");
  for (const char* name : {"a.jsonl.gz", "a.gz", "a.txt", "a"}) {
    const auto set = Read(name, packed);
    EXPECT_THAT(set.ids, ElementsAre(Ids{1, 2}, Ids{3})) << name;
    EXPECT_EQ(set.provenance.files.front().format, "jsonl") << name;
  }
}

TEST_F(CalibrationContent, ReadsEveryMemberOfAGzipFile) {
  EXPECT_THAT(Read("a.txt.gz", Gzip("w1\n") + Gzip("w2\n")).ids, ElementsAre(Ids{1}, Ids{2}));
}

TEST_F(CalibrationContent, RefusesADamagedGzipFile) {
  const std::string packed = Gzip("w1 w2 w3 w4 w5 w6 w7 w8\n");
  EXPECT_THAT(ErrorFor("a.txt.gz", packed.substr(0, packed.size() - 9)), HasSubstr("truncated"));
}

TEST_F(CalibrationContent, ConvertsUtf16WithAByteOrderMarkOrWithout) {
  const std::string text = "w1 w2\nw3\n";
  for (const std::string& bytes : {"\xFF\xFE"s + Wide(text, true), "\xFE\xFF"s + Wide(text, false),
                                   Wide(text, true), Wide(text, false)}) {
    EXPECT_THAT(Read("a.txt", bytes).ids, ElementsAre(Ids{1, 2}, Ids{3}));
  }
}

TEST_F(CalibrationContent, ConvertsSurrogatesOfUtf16) {
  // U+1F600 and U+00E9 in a JSON line; the tokenizer sees characters that it does not know.
  const std::string emoji = "\x3D\xD8\x00\xDE"s;
  const std::string line =
      "\xFF\xFE"s + Wide("{\"text\": \"w1 ", true) + emoji + "\xE9\x00"s + Wide(" w2\"}\n", true);
  const auto set = Read("a.jsonl", line);
  EXPECT_EQ(set.ids.front().front(), 1);
  EXPECT_EQ(set.ids.front().back(), 2);
  EXPECT_THAT(ErrorFor("a.txt", "\xFF\xFE\x3D\xD8"s + Wide("x", true)),
              HasSubstr("invalid UTF-16"));
}

TEST_F(CalibrationContent, RefusesWhatIsNoTextWithTheCommandThatConvertsIt) {
  EXPECT_THAT(ErrorFor("a.jsonl.zst", "\x28\xB5\x2F\xFD\x24"s),
              AllOf(HasSubstr("Zstandard"), HasSubstr("truncated")));
  EXPECT_THAT(ErrorFor("a.txt", "PAR1\x15\x04\x15"s),
              HasSubstr("a.txt: not a readable Parquet file"));
  EXPECT_THAT(ErrorFor("a.arrow", "ARROW1\x00\x00"s),
              AllOf(HasSubstr("an Arrow file"), HasSubstr("datasets.Dataset.from_file")));
  EXPECT_THAT(ErrorFor("a.xz", "\xFD\x37zXZ\x00"s), HasSubstr("xz -dk"));
  EXPECT_THAT(ErrorFor("a.zip", "PK\x03\x04"s + std::string(26, '\0') + "a.txt"),
              HasSubstr("unzip"));
  EXPECT_THAT(ErrorFor("a.txt", "<!DOCTYPE html><html></html>"), HasSubstr("an HTML page"));
  EXPECT_THAT(ErrorFor("a.txt", "version https://git-lfs.github.com/spec/v1\nsize 9\n"),
              HasSubstr("git lfs pull"));
  EXPECT_THAT(ErrorFor("a.txt", "caf\xE9"), HasSubstr("iconv -f"));
}

TEST_F(CalibrationContent, ReadsJsonUnderTheOtherName) {
  EXPECT_EQ(Read("a.json", "{\"text\": \"w1\"}\n{\"text\": \"w2\"}\n").provenance.files[0].format,
            "jsonl");
  EXPECT_EQ(Read("a.jsonl", "[\n{\"text\": \"w1\"}\n]").provenance.files[0].format, "json");
  EXPECT_EQ(Read("a.txt", "{\"text\": \"w1\"}\n").provenance.files[0].format, "jsonl");
  EXPECT_EQ(Read("a.txt", "{\"w1\": 2}\n").provenance.files[0].format, "txt");
}

TEST_F(CalibrationContent, ReadsTheTextColumnOfATable) {
  const auto set =
      Read("a.csv", "id,Text,label\r\n1,\"w1 , w2\",x\r\n2,\"w3\nw4 \"\"w5\"\"\",y\r\n\r\n3,w6,\n");
  ASSERT_EQ(set.ids.size(), 3U);
  EXPECT_EQ(set.ids[0].front(), 1);
  EXPECT_EQ(set.ids[1].front(), 3);
  EXPECT_EQ(set.ids[2], Ids{6});
  EXPECT_EQ(set.provenance.files.front().format, "csv");
  EXPECT_THAT(Read("a.tsv", "label\tprompt\n0\t\"w1\" w2\n1\tw3 , w4\n").ids[1].front(), 3);
  EXPECT_THAT(Read("a.csv", "text;n\nw1;1\n").ids, ElementsAre(Ids{1}));
  EXPECT_THAT(Read("a.csv", "text\nw1\nw2\n").ids, ElementsAre(Ids{1}, Ids{2}));
  EXPECT_THAT(Read("a.csv", "score,sentence1,sentence2\n5,w1,w2\n").ids,
              ElementsAre(Ids{1}, Ids{2}));
}

TEST_F(CalibrationContent, ATableUnderAnotherNameIsNotReadAsProse) {
  EXPECT_THAT(Read("a.txt", "id,text\n1,w1\n2,w2\n").ids, ElementsAre(Ids{1}, Ids{2}));
  EXPECT_EQ(Read("a.data", "text\tn\nw1\t1\n").provenance.files.front().format, "csv");
  // A text of lines with commas stays one.
  EXPECT_EQ(Read("a.txt", "w1, w2, text\nw3\n").provenance.files.front().format, "txt");
}

TEST_F(CalibrationContent, RefusesATableThatItCannotUnderstand) {
  EXPECT_THAT(ErrorFor("a.csv", "id,label\n1,w1\n"),
              AllOf(HasSubstr("no column of texts"), HasSubstr("id, label")));
  EXPECT_THAT(ErrorFor("a.csv", "id,text\n1,w1\n2,w1, w2\n"),
              AllOf(HasSubstr("a.csv:3: 3 fields"), HasSubstr("names 2")));
  EXPECT_THAT(ErrorFor("a.csv", "id,text\n1,\"w1\n2,w2\n"),
              AllOf(HasSubstr("a.csv:2:"), HasSubstr("never closed")));
}

TEST_F(CalibrationContent, ReadsArraysUnderAnyName) {
  const auto archive = directory_.path() / "ids.npz";
  WriteNpz(archive, {{"input_ids", Tensor::From<int64_t>({1, 3}, {4, 5, 6})}});
  std::filesystem::rename(archive, directory_.path() / "ids.dat");
  options_.files = {directory_.path() / "ids.dat"};
  const auto set = ReadCalibration(options_, nullptr, nullptr);
  EXPECT_THAT(set.ids, ElementsAre(Ids{4, 5, 6}));
  EXPECT_EQ(set.provenance.files.front().format, "npz");
}

TEST_F(CalibrationContent, SaysWhatIsWrongWithAnArchive) {
  EXPECT_THAT(ErrorFor("a.npz", ""), HasSubstr("an empty file, not an .npz archive"));
  EXPECT_THAT(ErrorFor("a.npz", "PK\x03\x04"s + std::string(26, '\0') + "x.npy"),
              HasSubstr("damaged or truncated"));
  EXPECT_THAT(ErrorFor("a.npz", "version https://git-lfs.github.com/spec/v1\n"),
              HasSubstr("git lfs pull"));
}

// ---- Several files ------------------------------------------------------------------------------

std::string Lines(int begin, int end) {
  std::string lines;
  for (int i = begin; i < end; ++i) lines += "w" + std::to_string(i) + "\n";
  return lines;
}

TEST_F(CalibrationContent, SeveralFilesShareTheSamplesInTheirOrder) {
  options_.samples = 10;
  options_.files = {directory_.Write("large.txt", Lines(0, 40)),
                    directory_.Write("small.txt", Lines(60, 62)),
                    directory_.Write("middle.jsonl",
                                     "{\"text\": \"w90\"}\n{\"text\": \"w91\"}\n"
                                     "{\"text\": \"w92\"}\n{\"text\": \"w93\"}\n")};
  const auto set = ReadCalibration(options_, &tokenizer_, nullptr);
  ASSERT_EQ(set.ids.size(), 10U);
  const auto& files = set.provenance.files;
  ASSERT_EQ(files.size(), 3U);
  EXPECT_EQ(files[0].samples, 4);
  EXPECT_EQ(files[1].samples, 2);  // all that it has
  EXPECT_EQ(files[2].samples, 4);
  EXPECT_LT(set.ids[3][0], 40);
  EXPECT_EQ(set.ids[4], Ids{60});
  EXPECT_GE(set.ids[6][0], 90);
}

TEST_F(CalibrationContent, TheProvenanceHasAHashForEachFile) {
  options_.files = {directory_.Write("a.txt", "w1\n"), directory_.Write("b.txt", "w2\nw3\n")};
  const auto json = ToJson(ReadCalibration(options_, &tokenizer_, nullptr).provenance);
  ASSERT_EQ(json["files"].size(), 2U);
  EXPECT_EQ(json["files"][1]["file"], "b.txt");
  EXPECT_EQ(json["files"][1]["samples"], 2);
  EXPECT_NE(json["files"][0]["file_sha256"], json["files"][1]["file_sha256"]);
  EXPECT_EQ(json["texts_read"], 3);
  EXPECT_FALSE(json.contains("file"));
}

TEST_F(CalibrationContent, EveryFileMustGiveSomething) {
  options_.files = {directory_.Write("a.txt", "w1\n"), directory_.Write("b.txt", "\n")};
  EXPECT_THROW((void)ReadCalibration(options_, &tokenizer_, nullptr), InputError);
  options_.files = {"-", "-"};
  EXPECT_THROW((void)ReadCalibration(options_, &tokenizer_, nullptr), UsageError);
}

// ---- Tokens past the table ----------------------------------------------------------------------

TEST_F(CalibrationContent, SkipsTextsWithTokensPastTheTable) {
  options_.vocab_size = 50;
  const auto set = Read("a.txt", "w1\nw2 w70 w3\nw4\n");
  EXPECT_THAT(set.ids, ElementsAre(Ids{1}, Ids{4}));
  EXPECT_EQ(set.provenance.files.front().texts_skipped, 1);
  ASSERT_EQ(set.provenance.notes.size(), 1U);
  EXPECT_THAT(set.provenance.notes.front(),
              AllOf(HasSubstr("1 of 3 texts"), HasSubstr("token id 70 ('w70')"),
                    HasSubstr("text 2, \"w2 w70 w3\""), HasSubstr("vocabulary of 50")));
  EXPECT_EQ(ToJson(set.provenance)["texts_skipped"], 1);
}

TEST_F(CalibrationContent, ManySuchTextsAreOfAnotherTokenizer) {
  options_.vocab_size = 50;
  EXPECT_THAT(Read("a.txt", "w1\nw60\n").ids, ElementsAre(Ids{1}));  // half of them
  EXPECT_THAT(ErrorFor("a.txt", "w1\nw60\nw61\n"),
              AllOf(HasSubstr("token id 60"), HasSubstr("2 of 3 texts"),
                    HasSubstr("the tokenizer does not belong to the model")));
}

}  // namespace
}  // namespace ptq
