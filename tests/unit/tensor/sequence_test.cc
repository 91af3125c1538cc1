// How long the elements of a sequence live, and that it is no tensor.
#include "ptq/tensor/sequence.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ptq {
namespace {

using ::testing::ElementsAre;

TEST(Sequence, HoldsTensorsAsLongAsACopyOfItLives) {
  Tensor copy;
  {
    const Tensor sequence = MakeSequence({Tensor::From<float>({2}, {1, 2}), Tensor()});
    EXPECT_EQ(sequence.size(), 2);
    copy = sequence.Widened();
  }
  ASSERT_EQ(ElementsOf(copy).size(), 2u);
  EXPECT_THAT(ElementsOf(copy)[0].data<float>(), ElementsAre(1, 2));
  EXPECT_FALSE(ElementsOf(copy)[1].defined());
}

TEST(Sequence, MayBeEmptyAndNested) {
  const Tensor outer = MakeSequence({MakeSequence({}), MakeSequence({Tensor::Scalar<float>(7)})});
  EXPECT_EQ(ElementsOf(ElementsOf(outer)[0]).size(), 0u);
  EXPECT_THAT(ElementsOf(ElementsOf(outer)[1])[0].data<float>(), ElementsAre(7));
}

TEST(Sequence, IsNoTensorAndNoTensorIsOne) {
  EXPECT_THROW((void)ElementsOf(Tensor::Scalar<float>(1)), InputError);
  EXPECT_THROW((void)MakeSequence({}).data<float>(), InputError);
  EXPECT_TRUE(EmptyOptional().defined());
}

}  // namespace
}  // namespace ptq
