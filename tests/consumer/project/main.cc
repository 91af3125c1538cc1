// Quantizes a 4 x 8 matrix through the installed library and checks every weight's error.
#include <algorithm>
#include <cmath>
#include <iostream>
#include <vector>

#include "ptq/quant/method.h"
#include "ptq/text/tokenizer.h"

int main() {
  constexpr int64_t kRows = 4;
  constexpr int64_t kColumns = 8;
  std::vector<float> w(kRows * kColumns);
  for (size_t i = 0; i < w.size(); ++i) w[i] = std::sin(1.0f + static_cast<float>(i));

  ptq::LinearProblem linear;
  linear.name = "consumer";
  linear.w = ptq::MatrixRows(w, kColumns);
  linear.spec.bits = 8;
  linear.spec.group_size = kColumns;
  ptq::SiteProblem site;
  site.k = kColumns;
  site.linears.push_back(linear);
  const ptq::SiteResult result = ptq::QuantizeSite(site, ptq::MethodFromPreset("rtn"));

  const ptq::QuantizedMatrix& q = result.linears.at(0).q;
  std::vector<float> back(w.size());
  q.Dequantize(back.data());
  float largest = 0;
  bool within = true;
  for (size_t i = 0; i < w.size(); ++i) {
    const float error = std::abs(back[i] - w[i]);
    const float step = std::abs(q.scales[i / kColumns]);
    largest = std::max(largest, error);
    // Half a step; one at the end of the grid, which has a level fewer on one side of zero.
    within = within && error <= step * 1.0001f;
  }
  // Links the tokenizer library too.
  std::cout << "tokenizers '" << ptq::GetTextLibraryVersions().tokenizers << "', largest error "
            << largest << ", at most one step: " << (within ? "yes" : "no") << '\n';
  return within ? 0 : 1;
}
