// Parses an equation for operands of known ranks, and makes the result that it leaves implicit.
#include "einsum_equation.h"

#include <algorithm>
#include <cctype>
#include <map>

#include "ptq/base/error.h"

namespace ptq {
namespace {

/// Stands for the ellipsis until the rank it covers is known.
constexpr int kEllipsis = -1;
/// The last dimension under an ellipsis; the one before it is one higher, and so on.
constexpr int kFirstEllipsisLabel = 1000;

[[noreturn]] void Malformed(const std::string& text, const std::string& why) {
  throw InputError("Einsum equation '" + text + "': " + why);
}

Labels ParseTerm(const std::string& text, const std::string& term) {
  Labels labels;
  for (size_t i = 0; i < term.size(); ++i) {
    if (std::isalpha(static_cast<unsigned char>(term[i])) != 0) {
      labels.push_back(term[i]);
    } else if (term.compare(i, 3, "...") == 0) {
      labels.push_back(kEllipsis);
      i += 2;
    } else {
      Malformed(text, std::string("unexpected character '") + term[i] + "'");
    }
  }
  if (std::count(labels.begin(), labels.end(), kEllipsis) > 1) {
    Malformed(text, "more than one ellipsis in a term");
  }
  return labels;
}

/// The ellipsis, if there is one, replaced by `count` labels.
Labels Expanded(const Labels& labels, int64_t count) {
  Labels result;
  for (const int label : labels) {
    if (label != kEllipsis) {
      result.push_back(label);
      continue;
    }
    for (int64_t i = count; i-- > 0;) result.push_back(kFirstEllipsisLabel + static_cast<int>(i));
  }
  return result;
}

std::vector<std::string> SplitTerms(const std::string& terms) {
  std::vector<std::string> result(1);
  for (const char c : terms) {
    if (c == ',') {
      result.emplace_back();
    } else {
      result.back() += c;
    }
  }
  return result;
}

/// Without "->": what the ellipses cover, then the letters that occur once, in alphabetical order.
Labels ImplicitResult(const std::vector<Labels>& operands, int64_t ellipsis_rank) {
  std::map<int, int> uses;
  for (const Labels& labels : operands) {
    for (const int label : labels) ++uses[label];
  }
  Labels result = Expanded({kEllipsis}, ellipsis_rank);
  for (const auto& [label, count] : uses) {
    if (label < kFirstEllipsisLabel && count == 1) result.push_back(label);
  }
  return result;
}

}  // namespace

EinsumEquation ParseEinsum(const std::string& text, std::span<const int64_t> ranks) {
  std::string compact;
  for (const char c : text) {
    if (c != ' ') compact += c;
  }
  const size_t arrow = compact.find("->");
  const auto terms = SplitTerms(compact.substr(0, arrow));
  if (terms.size() != ranks.size()) {
    Malformed(text, std::to_string(terms.size()) + " terms for " + std::to_string(ranks.size()) +
                        " operands");
  }
  EinsumEquation equation;
  int64_t ellipsis_rank = 0;
  for (size_t i = 0; i < terms.size(); ++i) {
    const Labels labels = ParseTerm(text, terms[i]);
    const bool ellipsis = std::count(labels.begin(), labels.end(), kEllipsis) > 0;
    const int64_t covered = ranks[i] - static_cast<int64_t>(labels.size()) + (ellipsis ? 1 : 0);
    if (covered < 0 || (!ellipsis && covered > 0)) {
      Malformed(text, "term '" + terms[i] + "' for an operand of rank " + std::to_string(ranks[i]));
    }
    ellipsis_rank = std::max(ellipsis_rank, covered);
    equation.operands.push_back(Expanded(labels, covered));
  }
  if (arrow == std::string::npos) {
    equation.result = ImplicitResult(equation.operands, ellipsis_rank);
  } else {
    equation.result = Expanded(ParseTerm(text, compact.substr(arrow + 2)), ellipsis_rank);
  }
  return equation;
}

}  // namespace ptq
