// A reader of RFC 4180, which also takes lone line feeds and text behind a closing quotation mark.
#include "csv.h"

#include <utility>

#include "lines.h"

#include "ptq/base/error.h"

namespace ptq {
namespace {

class Reader {
 public:
  Reader(std::string_view text, char separator, const std::string& name)
      : text_(text), separator_(separator), name_(name) {}

  std::vector<CsvRecord> Read() {
    std::vector<CsvRecord> records;
    while (at_ < text_.size()) {
      CsvRecord record = ReadRecord();
      if (record.fields.size() > 1 || !IsBlank(record.fields[0])) {
        records.push_back(std::move(record));
      }
    }
    return records;
  }

 private:
  CsvRecord ReadRecord() {
    CsvRecord record{{}, line_};
    for (;;) {
      record.fields.push_back(ReadField());
      if (at_ == text_.size()) return record;
      const bool last = text_[at_] != separator_;
      if (last && text_[at_] == '\r') ++at_;
      if (last) ++line_;
      ++at_;
      if (last) return record;
    }
  }

  /// Leaves `at_` at the separator or line end behind the field.
  std::string ReadField() {
    std::string field;
    if (at_ < text_.size() && text_[at_] == '"') ReadQuoted(field);
    for (; at_ < text_.size() && text_[at_] != separator_ && !AtLineEnd(); ++at_) {
      field += text_[at_];
    }
    return field;
  }

  void ReadQuoted(std::string& field) {
    const int64_t begin = line_;
    for (++at_; at_ < text_.size(); ++at_) {
      if (text_[at_] == '"') {
        ++at_;
        if (at_ == text_.size() || text_[at_] != '"') return;
      }
      if (text_[at_] == '\n') ++line_;
      field += text_[at_];
    }
    throw InputError(name_ + ":" + std::to_string(begin) + ": a quote is never closed");
  }

  [[nodiscard]] bool AtLineEnd() const {
    return text_[at_] == '\n' || text_.substr(at_, 2) == "\r\n";
  }

  std::string_view text_;
  char separator_;
  const std::string& name_;
  size_t at_ = 0;
  int64_t line_ = 1;
};

}  // namespace

std::vector<CsvRecord> ReadCsv(std::string_view text, char separator, const std::string& name) {
  return Reader(text, separator, name).Read();
}

std::vector<CsvRecord> ReadTabs(std::string_view text) {
  std::vector<CsvRecord> records;
  int64_t number = 0;
  for (const std::string_view line : Lines(text)) {
    CsvRecord record{{}, ++number};
    for (size_t begin = 0; begin <= line.size();) {
      const size_t end = std::min(line.find('\t', begin), line.size());
      record.fields.emplace_back(line.substr(begin, end - begin));
      begin = end + 1;
    }
    if (!IsBlank(line)) records.push_back(std::move(record));
  }
  return records;
}

}  // namespace ptq
