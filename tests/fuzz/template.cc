// Chat templates, through the C ABI.
#include "fuzz.h"

#include "ptq/text/chat_template.h"

namespace ptq::fuzz {
namespace {

std::vector<std::string> Seeds() {
  return {
      "{% for m in messages %}<|{{ m.role }}|>{{ m['content'] | trim }}{{ eos_token }}{% endfor %}",
      "{% set ns = namespace(x=0) %}{% for m in messages[1:] %}{% set ns.x = ns.x + 1 %}"
      "{% if loop.first and m.role != 'user' %}{{ raise_exception('no') }}{% endif %}{% endfor %}",
      "{%- macro f(a, b=2) %}{{ a ~ b | string }}{% endmacro -%}{{ f(messages | length) }}"
      "{{ messages | tojson(indent=2) }}{{ 'a,b'.split(',') | join('-') }}"};
}

void Run(std::string_view input) {
  const ChatTemplate chat(std::string(input), R"({"bos_token": "<s>", "eos_token": "</s>"})");
  (void)chat.Render(
      R"([{"role": "user", "content": "hello"}, {"role": "assistant", "content": "x"}])", true);
}

}  // namespace

extern const Target template_target = {"template", Seeds, MutateText, Run};

}  // namespace ptq::fuzz
