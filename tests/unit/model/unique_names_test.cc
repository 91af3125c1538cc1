// A name is given once, and what a graph has is never given.
#include "ptq/model/unique_names.h"

#include "support/model_builder.h"
#include <gtest/gtest.h>

namespace ptq {
namespace {

TEST(UniqueNames, CountsFromTwoUntilNobodyHasTheName) {
  UniqueNames names;
  EXPECT_TRUE(names.Reserve("w_3"));
  EXPECT_FALSE(names.Reserve("w_3"));
  EXPECT_EQ(names.Take("w"), "w");
  EXPECT_EQ(names.Take("w"), "w_2");
  EXPECT_EQ(names.Take("w"), "w_4");
  EXPECT_EQ(names.Take("w_2"), "w_2_2");
  EXPECT_FALSE(names.Reserve("w_4"));
}

TEST(UniqueNames, KnowsTheNamesOfAGraph) {
  testing::GraphBuilder builder;
  builder.Input("x", {1}).Random("w", {1}).Op("Mul", {"x", "w"}, "y", "product");
  UniqueNames names(builder.graph());
  for (const std::string name : {"x", "w", "y", "product"}) {
    EXPECT_EQ(names.Take(name), name + "_2");
  }
  EXPECT_EQ(names.Take("z"), "z");
}

}  // namespace
}  // namespace ptq
