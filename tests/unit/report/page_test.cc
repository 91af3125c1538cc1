// A page shows the sections that are there, and whatever a name says, it stays text.
#include <fstream>
#include <string>

#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/report/report.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::TempDirectory;

constexpr char kEvil[] = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>";

Json Linear(const std::string& name) {
  return {{"name", name},
          {"n", 8},
          {"k", 16},
          {"decision", "quantize"},
          {"reason", name},
          {"bytes_before", 512},
          {"bytes_after", 80},
          {"quantized",
           {{"form", "matmulnbits"},
            {"bits", 4},
            {"group_size", 16},
            {"scaling", "awq"},
            {"alpha", 0.5},
            {"loss_before", 4.0},
            {"loss_after", 2.0},
            {"relative_loss", 0.01}}}};
}

Json MetadataOf(const std::vector<std::string>& names) {
  Json linears = Json::array();
  for (const std::string& name : names) linears.push_back(Linear(name));
  return {
      {"tool", {{"name", "quantize"}, {"version", "1"}}},
      {"recipe", {{"method", "awq"}}},
      {"source",
       {{"file", names.front()}, {"sha256", "00"}, {"bytes", 1000}, {"data_files", Json::array()}}},
      {"calibration", nullptr},
      {"totals", {{"linears_quantized", names.size()}, {"linears_fp16", 0}, {"linears_kept", 0}}},
      {"linears", linears},
      {"verification", nullptr},
      {"notes", {names.front()}}};
}

TEST(Report, NearestLossFollowsFromTheLosses) {
  const Json report = ReportOf(MetadataOf({"model.layers.3.q_proj"}));
  EXPECT_DOUBLE_EQ(report["tensors"][0]["relative_loss_rtn"], 0.02);
  EXPECT_EQ(report["tensors"][0]["kind"], "q_proj");
  EXPECT_EQ(report["depth"][0]["points"][0]["layer"], 3);
  EXPECT_DOUBLE_EQ(report["summary"]["bits_per_weight"], 8.0 * 80 / 128);
}

TEST(Report, WhatIsNoMetadataIsRefused) {
  EXPECT_THROW((void)ReportOf(Json{{"linears", 1}}), InputError);
  EXPECT_THROW((void)ReportOf(Json::object()), InputError);
}

TEST(Report, NamesNeverBecomeMarkup) {
  Json report = ReportOf(MetadataOf({kEvil}));
  report["title"] = kEvil;
  report["gate"] = {
      {"passed", false},
      {"checks", {{{"metric", kEvil}, {"limit", kEvil}, {"value", 1}, {"passed", false}}}}};
  report["jobs"] = {{{"name", kEvil}, {"status", kEvil}}};
  const std::string page = ReportHtml(report);
  EXPECT_THAT(page, Not(HasSubstr("<script>alert")));
  EXPECT_THAT(page, Not(HasSubstr("<img")));
  EXPECT_THAT(page, HasSubstr("&lt;script&gt;alert(1)"));
  EXPECT_EQ(page.find("</script>"), page.rfind("</script>"));  // the page's own
}

TEST(Report, ShowsOnlyTheSectionsThatAreThere) {
  const std::string page = ReportHtml(ReportOf(MetadataOf({"a.0.b"})));
  EXPECT_THAT(page, HasSubstr("<section id=\"tensors\""));
  EXPECT_THAT(page, Not(HasSubstr("<section id=\"gate\"")));
  EXPECT_THAT(page, Not(HasSubstr("<section id=\"pareto\"")));
  EXPECT_THAT(ReportHtml(Json::object()), Not(HasSubstr("<section")));
}

TEST(Report, EverySectionOfOtherCommandsIsShown) {
  Json report = {{"title", "t"}};
  report["gate"] = {
      {"passed", true},
      {"checks", {{{"metric", "cosine"}, {"limit", ">=0.9"}, {"value", 0.95}, {"passed", true}}}},
      {"fallbacks", {{{"tensor", "x.o_proj"}, {"to", "8 bits"}, {"bytes", 96}}}}};
  report["evaluation"] = {{"task", "lm"}, {"perplexity", 7.25}, {"units", {{"perplexity", "exp"}}}};
  report["pareto"] = {{"x", {{"label", "size"}, {"unit", "bytes"}}},
                      {"y", {{"label", "KL"}, {"log", true}}},
                      {"points",
                       {{{"name", "bits=4"}, {"x", 4096}, {"y", 0.01}, {"best", true}},
                        {{"name", "bits=3"}, {"x", 3072}, {"y", 0.1}, {"best", true}},
                        {{"name", "failed"}, {"x", nullptr}, {"y", nullptr}}}}};
  report["jobs"] = {{{"name", "a"}, {"status", "done"}, {"seconds", 1.5}},
                    {{"name", "b"}, {"status", "failed"}, {"note", "no model"}}};
  report["comparison"] = {
      {"names", {"A", "B"}},
      {"facts", {{{"label", "method"}, {"values", {"rtn", "awq"}}}}},
      {"linears", {{{"name", "y"}, {"relative_loss", {0.1, nullptr}}, {"bytes", {1, 2}}}}}};
  const std::string page = ReportHtml(report);
  for (const char* text : {"The gate is passed", "x.o_proj", "7.25", "bits=4", "4.0 KiB", "failed",
                           "no model", "A and B", "10.0 %"}) {
    EXPECT_THAT(page, HasSubstr(text));
  }
}

TEST(Report, FiveThousandLinearsStayBounded) {
  std::vector<std::string> names;
  for (int i = 0; i < 6000; ++i) {
    names.push_back("model.layers." + std::to_string(i) + ".self_attn.q_proj");
  }
  const std::string page = ReportHtml(ReportOf(MetadataOf(names)));
  EXPECT_THAT(page, HasSubstr("The 5000 of 6000 tensors that lose most"));
  EXPECT_LT(page.size(), size_t{6} << 20);
}

TEST(ReportFile, IsRefusedBeforeTheWork) {
  const TempDirectory temp;
  const auto dir = temp.path();
  const std::filesystem::path report = dir / "report.html";
  EXPECT_NO_THROW(CheckReportFile({}, {}, {dir}));
  EXPECT_NO_THROW(CheckReportFile(report, {}, {dir / "out"}));
  EXPECT_TRUE(std::filesystem::is_empty(dir));  // nothing is left of the trial
  EXPECT_THROW(CheckReportFile(dir / "out" / "r.html", {}, {dir / "out"}), OutputError);
  EXPECT_THROW(CheckReportFile(dir / "no" / "r.html", {}, {}), OutputError);
  EXPECT_THROW(CheckReportFile(dir / "", {}, {}), OutputError);
  WriteFile(report, "mine");
  EXPECT_THROW(CheckReportFile(report, {}, {}), OutputError);
  EXPECT_THROW(CheckReportFile(report, {report}, {}), OutputError);
  WriteReport(dir / "again.html", Json::object());
  EXPECT_NO_THROW(CheckReportFile(dir / "again.html", {}, {}));
}

}  // namespace
}  // namespace ptq
