// Token ids given as arrays; needs no tokenizer.
#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/tensor/npz.h"
#include "ptq/text/calibration.h"

namespace ptq {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::TempDirectory;
using Ids = std::vector<int64_t>;
using Arrays = std::map<std::string, Tensor>;

CalibrationSet Read(const Arrays& arrays, CalibrationOptions options = {}) {
  const TempDirectory directory;
  options.files = {directory.path() / "ids.npz"};
  WriteNpz(options.files.front(), arrays);
  return ReadCalibration(options, nullptr, nullptr);
}

std::string ErrorFor(const Arrays& arrays, const CalibrationOptions& options = {}) {
  try {
    (void)Read(arrays, options);
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

TEST(CalibrationIds, ReadsRowsOfEitherIntegerType) {
  EXPECT_THAT(Read({{"input_ids", Tensor::From<int64_t>({2, 2}, {1, 2, 3, 4})}}).ids,
              ElementsAre(Ids{1, 2}, Ids{3, 4}));
  EXPECT_THAT(Read({{"in.input_ids", Tensor::From<int32_t>({3}, {1, 2, 3})}}).ids,
              ElementsAre(Ids{1, 2, 3}));
}

TEST(CalibrationIds, ReadsNpy) {
  const TempDirectory directory;
  // Format 1.0: magic, version, header length 118, header padded to 128 bytes in all, data.
  std::string header = "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 2), }";
  header.resize(117, ' ');
  const std::string data("\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0", 16);
  CalibrationOptions options;
  options.files = {directory.Write(
      "ids.npy", std::string("\x93NUMPY\x01\x00\x76\x00", 10) + header + "\n" + data)};
  const auto set = ReadCalibration(options, nullptr, nullptr);
  EXPECT_THAT(set.ids, ElementsAre(Ids{1, 2}, Ids{3, 4}));
  EXPECT_EQ(set.provenance.files.front().format, "npy");
}

TEST(CalibrationIds, DropsWhatTheMaskMarksAsPadding) {
  const auto set =
      Read({{"input_ids", Tensor::From<int64_t>({3, 3}, {1, 2, 0, 0, 0, 0, 0, 3, 4})},
            {"attention_mask", Tensor::From<int64_t>({3, 3}, {1, 1, 0, 0, 0, 0, 0, 1, 1})}});
  EXPECT_THAT(set.ids, ElementsAre(Ids{1, 2}, Ids{3, 4}));
  EXPECT_EQ(set.provenance.files.front().texts_empty, 1);
  EXPECT_EQ(set.provenance.files.front().texts_read, 2);
}

TEST(CalibrationIds, CutsAndDrawsLikeText) {
  CalibrationOptions options;
  options.seq_len = 2;
  options.samples = 3;
  const Arrays arrays = {{"input_ids", Tensor::From<int64_t>({2, 4}, {1, 2, 3, 4, 5, 6, 7, 8})}};
  const auto set = Read(arrays, options);
  EXPECT_EQ(set.ids.size(), 3u);
  for (const auto& sample : set.ids) EXPECT_EQ(sample[1], sample[0] + 1);
  options.long_text = LongText::kTruncate;
  EXPECT_THAT(Read(arrays, options).ids, ElementsAre(Ids{1, 2}, Ids{5, 6}));
}

TEST(CalibrationIds, JoinsAndCutsToWhatTheModelFixes) {
  const Arrays arrays = {{"input_ids", Tensor::From<int64_t>({2, 4}, {1, 2, 3, 4, 5, 6, 7, 8})}};
  CalibrationOptions options;
  options.fixed_length = 3;
  EXPECT_THAT(Read(arrays, options).ids, ElementsAre(Ids{1, 2, 3}, Ids{4, 5, 6}));
  options.fixed_rows = 2;
  options.fixed_length = 2;
  const auto set = Read(arrays, options);
  EXPECT_THAT(set.ids, ElementsAre(Ids{1, 2}, Ids{3, 4}, Ids{5, 6}, Ids{7, 8}));
  EXPECT_EQ(set.provenance.samples, 4);
  EXPECT_EQ(set.provenance.tokens, 8);
  EXPECT_THAT(set.provenance.notes, ElementsAre(HasSubstr("2 x 2 tokens")));
  options.fixed_length = 6;  // more than there is
  EXPECT_THAT(Read(arrays, options).ids, ElementsAre(Ids{1, 2, 3, 4, 5, 6}, Ids{7, 8, 1, 2, 3, 4}));
  options.fixed_rows = 1;
  options.fixed_length = 0;  // any length, one by one
  EXPECT_THAT(Read(arrays, options).ids, ElementsAre(Ids{1, 2, 3, 4}, Ids{5, 6, 7, 8}));
}

TEST(CalibrationIds, RefusesIdsOutsideTheVocabulary) {
  CalibrationOptions options;
  options.vocab_size = 4;
  const Arrays arrays = {{"input_ids", Tensor::From<int64_t>({2, 2}, {1, 2, 3, 4})}};
  EXPECT_THAT(ErrorFor(arrays, options),
              AllOf(HasSubstr("ids.npz: row 1: token id 4"), HasSubstr("vocabulary of 4")));
  EXPECT_THAT(ErrorFor({{"input_ids", Tensor::From<int64_t>({1}, {-1})}}),
              HasSubstr("token id -1"));
}

TEST(CalibrationIds, RefusesArraysThatAreNotIds) {
  EXPECT_THAT(ErrorFor({{"input_ids", Tensor::From<float>({2}, {1, 2})}}),
              HasSubstr("must be int32 or int64, not float32"));
  EXPECT_THAT(ErrorFor({{"input_ids", Tensor::From<int64_t>({1, 1, 1}, {1})}}),
              HasSubstr("[1, 1, 1]"));
  EXPECT_THAT(ErrorFor({{"x", Tensor::From<int64_t>({1}, {1})}}), HasSubstr("there are: x"));
}

TEST(CalibrationIds, RefusesMasksThatDoNotFit) {
  const Tensor ids = Tensor::From<int64_t>({1, 3}, {1, 2, 3});
  EXPECT_THAT(
      ErrorFor({{"input_ids", ids}, {"attention_mask", Tensor::From<int64_t>({3}, {1, 1, 1})}}),
      HasSubstr("must be equal"));
  EXPECT_THAT(
      ErrorFor({{"input_ids", ids}, {"attention_mask", Tensor::From<int64_t>({1, 3}, {1, 0, 1})}}),
      HasSubstr("zeros between ones"));
}

TEST(CalibrationIds, RefusesAMissingOrBrokenFile) {
  const TempDirectory directory;
  CalibrationOptions options;
  options.files = {directory.path() / "none.npz"};
  EXPECT_THROW((void)ReadCalibration(options, nullptr, nullptr), InputError);
  options.files = {directory.Write("text.npz", "not an archive")};
  EXPECT_THROW((void)ReadCalibration(options, nullptr, nullptr), InputError);
  options.files = {directory.Write("text.npy", "not an array")};
  EXPECT_THROW((void)ReadCalibration(options, nullptr, nullptr), InputError);
}

}  // namespace
}  // namespace ptq
