// Calibration files: lines, JSON of every form, tables, Parquet.
#include "fuzz.h"

#include "ptq/text/calibration.h"
#include "ptq/text/tokenizer.h"

namespace ptq::fuzz {
namespace {

constexpr char kTokenizer[] =
    R"({"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"}, "model":
{"type": "WordLevel", "vocab": {"?": 0, "a": 1, "word": 2}, "unk_token": "?"}})";

std::vector<std::string> Seeds() {
  return {"{\"text\": \"a word\"}\n{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}\n",
          "[{\"instruction\": \"a\", \"input\": \"b\", \"output\": \"c\"}, {\"conversations\": "
          "[{\"from\": "
          "\"human\", \"value\": \"hi\"}]}]",
          "{\"query\": \"a\", \"document\": \"word word\"}\n{\"messages\": [{\"role\": \"user\", "
          "\"content\": "
          "[{\"type\": \"text\", \"text\": \"a\"}]}]}\n",
          "text,label\n\"a, \"\"word\"\"\",1\nb,0\n",
          "a word\n\nword a\nword\n",
          "text\tscore\na\t0.5\n"};
}

void Run(std::string_view input) {
  static const Tokenizer tokenizer = Tokenizer::FromJson(kTokenizer, "tokenizer.json");
  CalibrationOptions options;
  const bool table = input.starts_with("text,");
  options.files = {InFile(table                         ? "a.csv"
                          : input.starts_with("text\t") ? "a.tsv"
                                                        : "a.data",
                          input)};
  options.samples = 8;
  (void)ReadCalibration(options, &tokenizer, nullptr);
}

}  // namespace

extern const Target texts_target = {"texts", Seeds, MutateText, Run};

}  // namespace ptq::fuzz
