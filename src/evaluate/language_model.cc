// Sums up likelihoods and divergences of next tokens from logits, in double.
#include "ptq/evaluate/language_model.h"

#include <algorithm>
#include <cmath>

#include "ptq/base/error.h"
#include "ptq/base/parallel.h"
#include "ptq/base/progress.h"

namespace ptq {
namespace {

/// ln Σ exp(x), and the index of the largest.
struct Row {
  double log_sum = 0;
  int64_t top = 0;
};

Row Summarise(std::span<const float> x) {
  Row row;
  row.top = std::ranges::max_element(x) - x.begin();
  const double largest = double{x[size_t(row.top)]};
  double sum = 0;
  for (const float value : x) sum += std::exp(double{value} - largest);
  row.log_sum = largest + std::log(sum);
  return row;
}

}  // namespace

double LanguageModelScore::Perplexity() const { return std::exp(nll / double(tokens)); }
double LanguageModelScore::ReferencePerplexity() const {
  return std::exp(reference_nll / double(tokens));
}
double LanguageModelScore::MeanKl() const { return kl / double(tokens); }
double LanguageModelScore::TopAgreement() const { return double(same_top) / double(tokens); }

void LanguageModelScore::Merge(const LanguageModelScore& other) {
  tokens += other.tokens;
  nll += other.nll;
  reference_nll += other.reference_nll;
  kl += other.kl;
  same_top += other.same_top;
  compared = compared || other.compared;
}

LanguageModelScore ScoreLogits(std::span<const float> logits, std::span<const float> reference,
                               std::span<const int64_t> next) {
  LanguageModelScore score;
  if (next.empty()) return score;
  const size_t vocabulary = logits.size() / next.size();
  score.compared = !reference.empty();
  if (score.compared && reference.size() != logits.size()) {
    throw InputError("the two models have vocabularies of different sizes");
  }
  for (const int64_t id : next) {
    if (id < 0 || id >= int64_t(vocabulary)) {
      throw InputError("token id " + std::to_string(id) + " is outside the vocabulary of " +
                       std::to_string(vocabulary) + " logits");
    }
  }
  for (size_t t = 0; t < next.size(); ++t) {
    const auto q = logits.subspan(t * vocabulary, vocabulary);
    const Row own = Summarise(q);
    score.nll += own.log_sum - double{q[size_t(next[t])]};
    ++score.tokens;
    if (!score.compared) continue;
    const auto p = reference.subspan(t * vocabulary, vocabulary);
    const Row other = Summarise(p);
    score.reference_nll += other.log_sum - double{p[size_t(next[t])]};
    for (size_t v = 0; v < vocabulary; ++v) {
      const double log_p = double{p[v]} - other.log_sum;
      const double log_q = double{q[v]} - own.log_sum;
      if (std::isfinite(log_p)) score.kl += std::exp(log_p) * (log_p - log_q);
    }
    score.same_top += own.top == other.top ? 1 : 0;
  }
  return score;
}

LanguageModelScore Evaluate(const ModelRunner& model, const ModelRunner* reference, size_t count,
                            const TextMaker& text) {
  LanguageModelScore total;
  Progress progress("evaluating", int64_t(count));
  for (size_t begin = 0; begin < count; begin += size_t(kTextsAtOnce)) {
    const size_t some = std::min(size_t(kTextsAtOnce), count - begin);
    std::vector<LanguageModelScore> scores(some);
    ParallelFor(int64_t(some), [&](int64_t i) {
      const TokenizedText one = text(begin + size_t(i));
      const Predictions own = model.Predict(one);
      const Predictions other = reference != nullptr ? reference->Predict(one) : Predictions();
      if (reference != nullptr && other.next != own.next) {
        throw InputError("the two models predict different numbers of tokens: " +
                         std::to_string(own.next.size()) + " and " +
                         std::to_string(other.next.size()));
      }
      scores[size_t(i)] = ScoreLogits(own.rows(), other.rows(), own.next);
    });
    for (const LanguageModelScore& score : scores) total.Merge(score);
    progress.Advance(int64_t(some));
  }
  return total;
}

LanguageModelScore Evaluate(const ModelRunner& model, const ModelRunner* reference,
                            const std::vector<TokenizedText>& texts) {
  return Evaluate(model, reference, texts.size(), [&](size_t i) { return texts[i]; });
}

}  // namespace ptq
