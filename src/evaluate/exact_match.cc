// Generates, normalises and compares.
#include "ptq/evaluate/exact_match.h"

#include <algorithm>
#include <cctype>
#include <set>

#include "ptq/base/parallel.h"
#include "ptq/base/progress.h"

namespace ptq {
namespace {

bool IsSpace(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }
bool IsDigit(char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; }

std::string_view Stripped(std::string_view text) {
  while (!text.empty() && IsSpace(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsSpace(text.back())) text.remove_suffix(1);
  return text;
}

/// Lower case, no punctuation, no articles, single spaces; in this order, as the original does it.
std::string SquadForm(std::string_view text) {
  static const std::set<std::string> kArticles = {"a", "an", "the"};
  std::string result, word;
  const auto finish = [&] {
    if (!word.empty() && !kArticles.contains(word)) result += (result.empty() ? "" : " ") + word;
    word.clear();
  };
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (IsSpace(c)) {
      finish();
    } else if (std::ispunct(byte) == 0) {
      word += char(std::tolower(byte));
    }
  }
  finish();
  return result;
}

/// "-1234.5" of "… is -1,234.50."; empty where there is no number.
std::string LastNumber(std::string_view text) {
  size_t end = text.size();
  while (end > 0 && !IsDigit(text[end - 1])) --end;
  if (end == 0) return "";
  const auto belongs = [&](size_t i) {
    const bool inside = i > 0 && (text[i] == ',' || text[i] == '.') && IsDigit(text[i - 1]);
    return IsDigit(text[i]) || inside;
  };
  size_t begin = end - 1;
  while (begin > 0 && belongs(begin - 1)) --begin;
  std::string number;
  if (begin > 0 && text[begin - 1] == '-') number = "-";
  for (const char c : text.substr(begin, end - begin)) {
    if (c != ',') number += c;
  }
  if (number.find('.') != std::string::npos) {
    number.erase(number.find_last_not_of('0') + 1);
    if (number.back() == '.') number.pop_back();
  }
  return number;
}

struct Written {
  std::vector<int64_t> ids;
  std::string text;
};

/// Place of the first of the words in a text; its end where none is there.
size_t FirstStop(const std::string& text, const std::vector<std::string>& stop) {
  size_t first = text.size();
  for (const std::string& word : stop) first = std::min(first, text.find(word));
  return std::min(first, text.size());
}

Written Write(const ModelRunner& model, const GenerationTask& task, GenerationLimits limits,
              const GenerationOptions& options, const Decoder& decode) {
  limits.new_tokens = options.new_tokens;
  if (!options.stop.empty()) {
    limits.enough = [&](std::span<const int64_t> ids) {
      const std::string text = decode({ids.begin(), ids.end()});
      return FirstStop(text, options.stop) < text.size();
    };
  }
  Written written;
  written.ids = Generate(model, task.prompt, LikeliestToken, limits);
  written.text = decode(written.ids);
  written.text.resize(FirstStop(written.text, options.stop));
  return written;
}

bool IsRight(const Written& written, const GenerationTask& task, Normalisation how) {
  const std::string own = Normalised(written.text, how);
  return std::ranges::any_of(
      task.answers, [&](const std::string& answer) { return Normalised(answer, how) == own; });
}

/// One task's part of the score.
struct Result {
  bool right = false;
  bool reference_right = false;
  bool same = false;
  int64_t tokens = 0;
  int64_t agreed = 0;
};

}  // namespace

std::string Normalised(std::string_view text, Normalisation how) {
  switch (how) {
    case Normalisation::kNone: break;
    case Normalisation::kStrip: return std::string(Stripped(text));
    case Normalisation::kSquad: return SquadForm(text);
    case Normalisation::kLastNumber: return LastNumber(text);
  }
  return std::string(text);
}

GenerationScore ScoreGenerations(const ModelRunner& model, const ModelRunner* reference,
                                 const std::vector<GenerationTask>& tasks,
                                 const GenerationLimits& limits, const GenerationOptions& options,
                                 const Decoder& decode) {
  std::vector<Result> results(tasks.size());
  Progress progress("generating", std::ssize(tasks));
  const auto run = [&](size_t i) {
    const GenerationTask& task = tasks[i];
    Result& result = results[i];
    const Written own = Write(model, task, limits, options, decode);
    result.tokens = std::ssize(own.ids);
    result.right = IsRight(own, task, options.normalisation);
    if (reference != nullptr) {
      const Written other = Write(*reference, task, limits, options, decode);
      result.reference_right = IsRight(other, task, options.normalisation);
      result.same = own.ids == other.ids;
      result.agreed = std::ranges::mismatch(own.ids, other.ids).in1 - own.ids.begin();
    }
    progress.Advance();
  };
  for (size_t begin = 0; begin < tasks.size(); begin += size_t(kTextsAtOnce)) {
    const size_t count = std::min(size_t(kTextsAtOnce), tasks.size() - begin);
    ParallelFor(int64_t(count), [&](int64_t i) { run(begin + size_t(i)); });
  }
  GenerationScore score;
  score.tasks = std::ssize(tasks);
  double right = 0, reference_right = 0, same = 0, agreed = 0;
  for (size_t i = 0; i < tasks.size(); ++i) {
    const Result& result = results[i];
    score.answered += tasks[i].answers.empty() ? 0 : 1;
    score.tokens += result.tokens;
    right += result.right ? 1 : 0;
    reference_right += result.reference_right ? 1 : 0;
    same += result.same ? 1 : 0;
    agreed += result.same ? 0 : double(result.agreed);
  }
  const auto n = double(tasks.size());
  if (score.answered > 0) score.exact_match = right / double(score.answered);
  if (reference == nullptr) return score;
  if (score.answered > 0) score.reference_exact_match = reference_right / double(score.answered);
  score.same = same / n;
  if (same < n) score.agreed_tokens = agreed / (n - same);
  return score;
}

}  // namespace ptq
