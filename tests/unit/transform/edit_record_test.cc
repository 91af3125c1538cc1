// A record comes back from CBOR as it went in, and what is none is refused.
#include "ptq/transform/edit_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "ptq/base/error.h"
#include "ptq/model/node_builder.h"

namespace ptq {
namespace {

using nlohmann::json;

TEST(EditRecord, SurvivesCbor) {
  EditRecord record;
  record.store.files = {1 << 20, 7};
  record.store.initializers.emplace_back().set_name("w");
  record.store.contents = {{"key", "w"}};
  record.store.names = {"w", "w_2"};
  record.replaced.emplace_back(7, std::vector{MakeNode("Relu", "r", {"x"}, "y")});
  const EditRecord read = EditRecordFromJson(json::from_cbor(json::to_cbor(ToJson(record))));
  EXPECT_EQ(read.store.files, record.store.files);
  ASSERT_EQ(read.store.initializers.size(), 1u);
  EXPECT_EQ(read.store.initializers[0].name(), "w");
  EXPECT_EQ(read.store.contents, record.store.contents);
  EXPECT_EQ(read.store.names, record.store.names);
  ASSERT_EQ(read.replaced.size(), 1u);
  EXPECT_EQ(read.replaced[0].first, 7);
  ASSERT_EQ(read.replaced[0].second.size(), 1u);
  EXPECT_EQ(read.replaced[0].second[0].SerializeAsString(),
            record.replaced[0].second[0].SerializeAsString());
}

TEST(EditRecord, RefusesWhatIsNone) {
  EXPECT_THROW((void)EditRecordFromJson(json::object()), InputError);
  json broken = ToJson(EditRecord{});
  broken["initializers"] = json::array({json::binary({0xff, 0xff})});
  EXPECT_THROW((void)EditRecordFromJson(broken), InputError);
}

}  // namespace
}  // namespace ptq
