// Where a chat template is found, and what it sees.
#include "ptq/text/chat_template.h"

#include "support/temp_directory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using ::testing::HasSubstr;
using testing::TempDirectory;

constexpr const char* kMessages =
    R"([{"role": "user", "content": "Hi <b>"}, {"role": "assistant", "content": " Yes "}])";

TEST(ChatTemplate, RendersMessagesWithSpecialTokens) {
  const ChatTemplate chat(
      "{{ bos_token }}\n{% for m in messages %}\n[{{ m['role'] }}] {{ m.content.strip() }}\n"
      "{% endfor %}\n{% if add_generation_prompt %}[assistant]{% endif %}",
      R"({"bos_token": "<s>"})");
  EXPECT_EQ(chat.Render(kMessages), "<s>\n[user] Hi <b>\n[assistant] Yes\n");
  EXPECT_EQ(chat.Render(kMessages, true), "<s>\n[user] Hi <b>\n[assistant] Yes\n[assistant]");
}

TEST(ChatTemplate, SeesExtraVariablesAndTheGivenTime) {
  const ChatTemplate chat("{{ tools is none }} {{ style }} {{ strftime_now('%Y-%m-%d') }}");
  EXPECT_EQ(chat.Render("[]", false, R"({"style": "short"})"), "True short 2024-07-26");
  EXPECT_EQ(chat.Render("[]", false, R"({"tools": []})", 0), "False  1970-01-01");
}

TEST(ChatTemplate, PassesOnWhatTheTemplateRefuses) {
  const ChatTemplate chat("{{ raise_exception('roles must alternate') }}");
  try {
    (void)chat.Render("[]");
    FAIL() << "no exception";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("roles must alternate"));
  }
}

TEST(ChatTemplate, RefusesBrokenTemplatesAndMessages) {
  EXPECT_THROW((void)ChatTemplate("{% if %}").Render("[]"), InputError);
  EXPECT_THROW((void)ChatTemplate("x").Render("{}"), InputError);
  EXPECT_THROW((void)ChatTemplate("x").Render("[1"), InputError);
}

TEST(ChatTemplateFromDirectory, IsEmptyWithoutOne) {
  const TempDirectory directory;
  EXPECT_FALSE(ChatTemplate::FromDirectory(directory.path()).has_value());
  directory.Write("tokenizer_config.json", R"({"chat_template": null})");
  EXPECT_FALSE(ChatTemplate::FromDirectory(directory.path()).has_value());
}

TEST(ChatTemplateFromDirectory, PrefersTheFileOverTheConfiguration) {
  const TempDirectory directory;
  directory.Write("chat_template.json", R"({"chat_template": "processor"})");
  EXPECT_EQ(ChatTemplate::FromDirectory(directory.path())->source(), "processor");
  directory.Write("tokenizer_config.json", R"({"chat_template": "config"})");
  EXPECT_EQ(ChatTemplate::FromDirectory(directory.path())->source(), "config");
  directory.Write("chat_template.jinja", "jinja");
  EXPECT_EQ(ChatTemplate::FromDirectory(directory.path())->source(), "jinja");
}

TEST(ChatTemplateFromDirectory, TakesTheNamedOneOfAList) {
  const TempDirectory directory;
  directory.Write("tokenizer_config.json", R"({"chat_template": [
    {"name": "default", "template": "plain"}, {"name": "rag", "template": "with documents"}]})");
  EXPECT_EQ(ChatTemplate::FromDirectory(directory.path())->source(), "plain");
  EXPECT_EQ(ChatTemplate::FromDirectory(directory.path(), "rag")->source(), "with documents");
  EXPECT_THROW((void)ChatTemplate::FromDirectory(directory.path(), "none"), InputError);
}

TEST(ChatTemplateFromDirectory, ReadsSpecialTokensInEitherForm) {
  const TempDirectory directory;
  directory.Write("tokenizer_config.json",
                  R"({"chat_template": "{{ bos_token }}{{ eos_token }}{{ pad_token }}",
                      "bos_token": {"content": "<s>"}, "eos_token": "</s>", "pad_token": null})");
  directory.Write("special_tokens_map.json", R"({"pad_token": "<pad>", "eos_token": "other"})");
  EXPECT_EQ(ChatTemplate::FromDirectory(directory.path())->Render("[]"), "<s></s><pad>");
}

}  // namespace
}  // namespace ptq
