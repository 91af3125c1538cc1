// Reads the part of TOML that a recipe needs: sections, keys, texts, numbers, truth, lists, and
// lists of tables. Words without quotes count as texts, as in INI files.
#include <algorithm>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "recipe_file.h"
#include "values.h"

#include "ptq/base/error.h"

namespace ptq {
namespace {

class TomlReader {
 public:
  TomlReader(std::string_view text, const std::string& name) : text_(text), name_(name) {}

  std::vector<RecipeEntry> Read() {
    std::vector<RecipeEntry> entries;
    std::set<std::pair<std::string, std::string>> seen;
    std::string section;
    while (SkipBlank()) {
      if (text_.substr(at_).starts_with("[[")) {
        RecipeTable& table = AddTable(entries, seen);
        while (SkipBlank() && Peek() != '[') AddTo(table, ReadEntry());
        section.clear();
        continue;
      }
      if (Peek() == '[') {
        section = ReadSection();
        continue;
      }
      RecipeEntry entry = ReadEntry();
      if (entry.section.empty()) entry.section = section;
      if (!seen.emplace(entry.section, entry.key).second) {
        Fail(Quoted(entry.key) + " stands twice; keep one");
      }
      if (!entry.values.empty() || !entry.tables.empty()) entries.push_back(std::move(entry));
    }
    return entries;
  }

 private:
  [[nodiscard]] std::string Where() const {
    return Quoted(name_) + " line " + std::to_string(line_);
  }

  /// [[key]]: one more table of that list, which may not be given as a value, too.
  RecipeTable& AddTable(std::vector<RecipeEntry>& entries,
                        std::set<std::pair<std::string, std::string>>& seen) {
    const std::string where = Where();
    at_ += 2;
    SkipSpaces();
    const std::string key = ReadKey();
    SkipSpaces();
    if (!text_.substr(at_).starts_with("]]")) Fail("a table of a list is written [[" + key + "]]");
    at_ += 2;
    EndLine();
    const auto same = [&](const RecipeEntry& e) { return e.section.empty() && e.key == key; };
    auto found = std::ranges::find_if(entries, same);
    if (seen.emplace("", key).second) {
      RecipeEntry entry;
      entry.key = key;
      entry.is_list = true;
      entry.where = where;
      found = entries.insert(entries.end(), std::move(entry));
    } else if (found == entries.end() || found->tables.empty()) {
      Fail(Quoted(key) + " stands twice; keep one");
    }
    return found->tables.emplace_back(RecipeTable{{}, where});
  }

  void AddTo(RecipeTable& table, RecipeEntry entry) const {
    if (!entry.section.empty()) Fail("a key of a table has no '.'");
    const auto same = [&](const RecipeEntry& e) { return e.key == entry.key; };
    if (std::ranges::any_of(table.entries, same)) {
      Fail(Quoted(entry.key) + " stands twice; keep one");
    }
    table.entries.push_back(std::move(entry));
  }

  [[nodiscard]] bool AtEnd() const { return at_ >= text_.size(); }
  [[nodiscard]] char Peek() const { return AtEnd() ? '\n' : text_[at_]; }

  [[noreturn]] void Fail(const std::string& what) const { throw UsageError(Where() + ": " + what); }

  char Take() {
    const char c = Peek();
    ++at_;
    if (c == '\n') ++line_;
    return c;
  }

  void SkipSpaces() {
    while (Peek() == ' ' || Peek() == '\t' || Peek() == '\r') ++at_;
  }

  /// Over blanks, ends of lines and comments; false at the end of the text.
  bool SkipBlank() {
    while (!AtEnd()) {
      SkipSpaces();
      if (Peek() == '#' || Peek() == ';') {
        while (Peek() != '\n') ++at_;
      }
      if (Peek() != '\n') return true;
      Take();
    }
    return false;
  }

  void EndLine() {
    SkipSpaces();
    if (Peek() == '#') {
      while (Peek() != '\n') ++at_;
    }
    if (Peek() != '\n') {
      Fail("what follows the value is not understood; put quotes around text that holds blanks");
    }
  }

  std::string ReadSection() {
    ++at_;
    SkipSpaces();
    std::string name = ReadKey();
    SkipSpaces();
    if (Peek() != ']') Fail("a section is written [command]");
    ++at_;
    EndLine();
    return name;
  }

  std::string ReadKey() {
    if (Peek() == '"' || Peek() == '\'') return ReadQuoted();
    const size_t begin = at_;
    while (std::isalnum(static_cast<unsigned char>(Peek())) != 0 || Peek() == '_' ||
           Peek() == '-') {
      ++at_;
    }
    if (at_ == begin) Fail("a key was expected; lines are written 'key = value'");
    return std::string(text_.substr(begin, at_ - begin));
  }

  RecipeEntry ReadEntry() {
    RecipeEntry entry;
    entry.where = Where();
    entry.key = ReadKey();
    SkipSpaces();
    if (Peek() == '.') {
      ++at_;
      entry.section = std::exchange(entry.key, ReadKey());
      SkipSpaces();
    }
    if (Peek() != '=') Fail("'=' was expected after " + Quoted(entry.key));
    ++at_;
    SkipSpaces();
    if (Peek() == '[') {
      ReadList(entry);
    } else {
      ReadValue(entry);
    }
    EndLine();
    return entry;
  }

  void ReadList(RecipeEntry& entry) {
    entry.is_list = true;
    ++at_;
    while (SkipBlank() && Peek() != ']') {
      if (Peek() == '{') {
        entry.tables.push_back(ReadTable());
      } else {
        ReadValue(entry);
      }
      if (!SkipBlank() || (Peek() != ',' && Peek() != ']')) {
        Fail("the list of " + Quoted(entry.key) + " needs ',' between values and ']' at its end");
      }
      if (Peek() == ',') ++at_;
    }
    if (AtEnd()) Fail("the list of " + Quoted(entry.key) + " has no ']' at its end");
    if (!entry.tables.empty() && !entry.values.empty()) {
      Fail("the list of " + Quoted(entry.key) + " holds tables and other values; keep one kind");
    }
    ++at_;
  }

  /// { key = value, key = value }, on one line.
  RecipeTable ReadTable() {
    RecipeTable table{{}, Where()};
    ++at_;
    SkipSpaces();
    while (Peek() != '}') {
      RecipeEntry entry;
      entry.where = Where();
      entry.key = ReadKey();
      SkipSpaces();
      if (Peek() != '=') Fail("'=' was expected after " + Quoted(entry.key));
      ++at_;
      SkipSpaces();
      ReadValue(entry);
      AddTo(table, std::move(entry));
      SkipSpaces();
      if (Peek() == ',') {
        ++at_;
        SkipSpaces();
      } else if (Peek() != '}') {
        Fail("a table is written { key = value, key = value }, on one line");
      }
    }
    ++at_;
    return table;
  }

  void ReadValue(RecipeEntry& entry) {
    if (Peek() == '"' || Peek() == '\'') {
      entry.kind = RecipeEntry::Kind::kText;
      entry.values.push_back(ReadQuoted());
      return;
    }
    if (Peek() == '{' || Peek() == '[') Fail(Quoted(entry.key) + " is one value or a list of them");
    const size_t begin = at_;
    while (std::string_view(" \t\r\n,]}#").find(Peek()) == std::string_view::npos) ++at_;
    std::string word(text_.substr(begin, at_ - begin));
    if (word.empty()) Fail(Quoted(entry.key) + " has no value");
    const bool number = word.find_first_not_of("+-0123456789._eE") == std::string::npos;
    if (number) {
      std::erase(word, '_');
      if (word.front() == '+') word.erase(0, 1);
    }
    entry.kind = word == "true" || word == "false" ? RecipeEntry::Kind::kBool
                 : number                          ? RecipeEntry::Kind::kNumber
                                                   : RecipeEntry::Kind::kText;
    entry.values.push_back(std::move(word));
  }

  std::string ReadQuoted() {
    const char quote = Take();
    std::string value;
    while (Peek() != quote) {
      if (Peek() == '\n') Fail("a text has no closing quote");
      char c = Take();
      if (c == '\\' && quote == '"') c = Escaped(Take());
      value += c;
    }
    ++at_;
    return value;
  }

  [[nodiscard]] char Escaped(char c) const {
    switch (c) {
      case 'n': return '\n';
      case 't': return '\t';
      case '"':
      case '\\': return c;
      default:
        Fail(std::string("\\") + c +
             R"( is none of \" \\ \n \t; 'single quotes' take all as it is)");
    }
  }

  std::string_view text_;
  const std::string& name_;
  size_t at_ = 0;
  int64_t line_ = 1;
};

}  // namespace

std::vector<RecipeEntry> ParseToml(std::string_view text, const std::string& name) {
  return TomlReader(text, name).Read();
}

}  // namespace ptq
