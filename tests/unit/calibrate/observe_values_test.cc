// What samples show on their way through a model, segment by segment.
#include "ptq/calibrate/observe_values.h"

#include "support/model_builder.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ptq {
namespace {

using ::testing::FloatNear;
using ::testing::Pointwise;

TEST(ObserveValues, ShowsWhatTheWholeModelGives) {
  const Model model = testing::ToyDecoder(3).Build();
  const Graph graph(model);
  const Executor executor(graph);
  ASSERT_GT(executor.plan().segments().size(), 1U);
  const ValueId logits = graph.Find("logits");
  std::vector<Values> inputs;
  std::vector<Tensor> wanted;
  for (int64_t i = 0; i < 2; ++i) {
    inputs.push_back({{graph.Find("input_ids"), Tensor::From<int64_t>({1, 3}, {i, 5, 9 - i})}});
    wanted.push_back(executor.RunAll(inputs.back()).at(logits));
  }
  std::vector<Tensor> seen;
  size_t segments = 0;
  const auto taps = [&](const Segment& segment) {
    const bool last = &segment == &executor.plan().segments().back();
    return last ? std::vector<ValueId>{logits} : std::vector<ValueId>();
  };
  ObserveValues(
      executor, inputs,
      {taps, [&](ValueId, const Tensor& value) { seen.push_back(value); }, [&] { ++segments; }});
  EXPECT_EQ(segments, executor.plan().segments().size());
  ASSERT_EQ(seen.size(), wanted.size());
  for (size_t i = 0; i < seen.size(); ++i) {
    EXPECT_THAT(seen[i].data<float>(), Pointwise(FloatNear(1e-4F), wanted[i].data<float>()));
  }
}

TEST(ObserveValues, RunsNothingBehindTheLastTap) {
  const Model model = testing::ToyDecoder(3).Build();
  const Graph graph(model);
  const Executor executor(graph);
  int seen = 0;
  ObserveValues(executor, {{{graph.Find("input_ids"), Tensor::From<int64_t>({1, 1}, {1})}}},
                {[](const Segment&) { return std::vector<ValueId>(); },
                 [&](ValueId, const Tensor&) { ++seen; }});
  EXPECT_EQ(seen, 0);
}

}  // namespace
}  // namespace ptq
