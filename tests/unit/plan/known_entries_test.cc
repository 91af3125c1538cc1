// Shapes that a graph computes, as far as they are constants.
#include "caches/known_entries.h"

#include "support/model_builder.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ptq {
namespace {

using ::testing::ElementsAre;
using testing::GraphBuilder;
using ::testing::Optional;

using Entries = std::optional<std::vector<std::optional<int64_t>>>;

/// Of `name`, where x has three dimensions.
Entries Of(GraphBuilder b, const std::string& name) {
  b.Output(name, {-1}, DType::kInt64);
  const Model model = b.Build();
  const Graph graph(model);
  return KnownEntries(graph, graph.Find(name));
}

GraphBuilder Shaped() {
  GraphBuilder b;
  b.Input("x", {-1, -1, -1}).Weight("zero", Tensor::From<int64_t>({1}, {0}));
  b.Weight("first", Tensor::From<int64_t>({}, {0})).Weight("four", Tensor::From<int64_t>({1}, {4}));
  b.Op("Shape", {"x"}, "shape").Op("Gather", {"shape", "first"}, "batch");
  b.Op("Unsqueeze", {"batch", "zero"}, "one");
  return b;
}

TEST(KnownEntries, TellsConstantsAmongOthers) {
  GraphBuilder b = Shaped();
  b.Op("Concat", {"one", "four"}, "all").Int("axis", 0);
  EXPECT_THAT(Of(b, "all"), Optional(ElementsAre(std::nullopt, Optional(4))));
  b.Op("Cast", {"all"}, "cast").Int("to", 7);
  EXPECT_THAT(Of(b, "cast"), Optional(ElementsAre(std::nullopt, Optional(4))));
}

TEST(KnownEntries, FollowsWhatExportersPutAroundAShape) {
  GraphBuilder b = Shaped();
  b.Op("Concat", {"one", "four"}, "all").Int("axis", 0);
  b.Weight("minus", Tensor::From<int64_t>({1}, {-1}));
  b.Op("Equal", {"all", "minus"}, "open").Op("Where", {"open", "zero", "all"}, "filled");
  EXPECT_THAT(Of(b, "filled"), Optional(ElementsAre(std::nullopt, Optional(4))));
}

TEST(KnownEntries, SaysNothingWhereNotEvenTheNumberIsKnown) {
  EXPECT_EQ(Of(Shaped(), "shape"), std::nullopt);
  GraphBuilder b = Shaped();
  b.Op("Concat", {"shape", "four"}, "all").Int("axis", 0);
  EXPECT_EQ(Of(b, "all"), std::nullopt);
}

}  // namespace
}  // namespace ptq
