"""Compares tokenizers with Python's `tokenizers`, chat templates with Jinja2 as transformers uses it.

Needs the helper `tokenize_helper` of the build directory that PTQ_BUILD_DIR names, and real
tokenizers in the folder `shared` beside the repository (or PTQ_SHARED); what is absent is skipped.
"""

import datetime
import json
import os
import pathlib
import subprocess

import pytest

tokenizers = pytest.importorskip("tokenizers")
jinja2 = pytest.importorskip("jinja2")
from jinja2.ext import Extension, loopcontrols  # noqa: E402
from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: E402

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SHARED = pathlib.Path(os.environ.get("PTQ_SHARED", REPOSITORY.parent / "shared"))
BUILD = pathlib.Path(os.environ.get("PTQ_BUILD_DIR", REPOSITORY / "build" / "release"))
HELPER = BUILD / "tests" / "interop" / "tokenize_helper"

pytestmark = pytest.mark.skipif(
    not HELPER.exists(), reason=f"{HELPER} is absent: build it, or set PTQ_BUILD_DIR"
)

TOKENIZER_FILES = [
    "tokenizers/llama-2/tokenizer.json",
    "tokenizers/gpt2/tokenizer.json",
    "tokenizers/t5-small/tokenizer.json",
    "tokenizers/bert-base-uncased-minilm/tokenizer.json",
    "tokenizers/bert-base-uncased-minilm/tokenizer_compact.json",
    "tokenizers/phi-2/tokenizer.json",
    "models/tinystories-656k-llama/tokenizer.json",
]

AWKWARD = [
    "",
    " ",
    "   leading and trailing   ",
    "tabs\tand\r\nline\n\n\nbreaks\u2028\u00a0\u3000",
    "don't we'll I'VE THEY'RE it's'",
    "def f(x):\n    return  x ** 2  # comment\n\n\n",
    "1234567 3.14e-10 0xFF 1,000,000 ½ ² Ⅷ ٣٤",
    "naïve café e\u0301 ﬁ Å Å \u1e9b\u0323",
    "日本語のテキスト 中文字符 한국어 ไทย",
    "العربية עברית हिन्दी தமிழ் ქართული",
    "👩‍👩‍👧‍👦 🇨🇭 👍🏽 \U0001f9ff",
    "zero\x00byte \x01\x1f\x7f \ufeff\u200b\u200d\ufffd",
    "<s>text</s> <unk> <pad> <|endoftext|> [CLS] [SEP] [MASK] <extra_id_0> <|im_start|>",
    "<|start_story|>Once upon a time<|end_story|>",
    "a" * 400,
    "\U0010ffff \ue000 \U000e0041",
    "ĠĊ ▁ ##ing",
]


def helper(*arguments, requests=(), stdin=None):
    """The helper's answers, one per request."""
    text = stdin if stdin is not None else "".join(json.dumps(r) + "\n" for r in requests)
    run = subprocess.run(
        [HELPER, *map(str, arguments)], input=text.encode(), capture_output=True, check=False
    )
    assert run.returncode == 0, run.stderr.decode()
    return [json.loads(line) for line in run.stdout.decode().split("\n") if line]


def pieces(path, size, count):
    """`count` pieces of about `size` characters spread over a text file."""
    text = path.read_text(encoding="utf-8", errors="replace")
    step = max(size, len(text) // count)
    return [text[i : i + size] for i in range(0, len(text), step)][:count]


def corpus():
    texts = list(AWKWARD)
    folder = SHARED / "text"
    for file in sorted(folder.glob("*/*.utf8")) + sorted(folder.glob("*/*.txt")):
        texts += pieces(file, 700, 60) + pieces(file, 37, 60) + pieces(file, 9000, 2)
    return texts


def require(path):
    if not path.exists():
        pytest.skip(f"{path} is absent")
    return path


def assert_same_ids(reference, path):
    """`reference`: a Python tokenizer; `path`: what the helper opens."""
    reference.no_truncation()
    reference.no_padding()
    texts = corpus()
    for special in (True, False):
        ours = helper("encode", path, requests=[{"text": t, "special": special} for t in texts])
        assert len(ours) == len(texts)
        for text, ids in zip(texts, ours):
            assert ids == reference.encode(text, add_special_tokens=special).ids, repr(text)


@pytest.mark.parametrize("name", TOKENIZER_FILES)
def test_ids_equal_those_of_python(name):
    path = require(SHARED / name)
    assert_same_ids(open_reference(path), path)


def open_reference(path):
    """Python's tokenizer. It refuses merges that contain more than one space ("left right" of
    tokens that hold a space themselves, as in one Llama 2 file); those are cut by the vocabulary."""
    file = json.loads(path.read_text(encoding="utf-8"))
    merges = file["model"].get("merges", [])
    if any(isinstance(merge, str) and merge.count(" ") != 1 for merge in merges):
        vocab = file["model"]["vocab"]
        for index, merge in enumerate(merges):
            parts = [(merge[:i], merge[i + 1 :]) for i, c in enumerate(merge) if c == " "]
            (cut,) = [p for p in parts if p[0] in vocab and p[1] in vocab and "".join(p) in vocab]
            merges[index] = list(cut)
    return tokenizers.Tokenizer.from_str(json.dumps(file))


def copy_bpe(source, destination):
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        if (source / name).exists():
            (destination / name).write_bytes((source / name).read_bytes())
    return destination


def test_gpt2_from_vocab_and_merges(tmp_path):
    source = require(SHARED / "tokenizers/gpt2/tokenizer.json").parent
    reference = tokenizers.Tokenizer.from_file(str(source / "tokenizer.json"))
    assert_same_ids(reference, copy_bpe(source, tmp_path))


def test_qwen2_from_vocab_and_merges(tmp_path):
    source = require(SHARED / "tokenizers/qwen2/vocab.json").parent
    model = tokenizers.models.BPE.from_file(
        str(source / "vocab.json"), str(source / "merges.txt")
    )
    reference = tokenizers.Tokenizer(model)
    reference.normalizer = tokenizers.normalizers.NFC()
    pattern = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    reference.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated"),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    config = json.loads((source / "tokenizer_config.json").read_text())
    added = sorted(config["added_tokens_decoder"].items(), key=lambda item: int(item[0]))
    reference.add_special_tokens([token["content"] for _, token in added])
    assert [reference.token_to_id(t["content"]) for _, t in added] == [int(i) for i, _ in added]
    assert_same_ids(reference, copy_bpe(source, tmp_path))


# ---- Calibration files --------------------------------------------------------------------------


def test_calibration_from_standard_input():
    path = require(SHARED / "tokenizers/gpt2/tokenizer.json")
    reference = tokenizers.Tokenizer.from_file(str(path))
    lines = ["one text", "another, longer text", "ünïcödé"]
    text = "".join(json.dumps({"text": line}, ensure_ascii=False) + "\n" for line in lines)
    (answer,) = helper("calibrate", path, "-", stdin=text)
    assert answer["ids"] == [reference.encode(line).ids for line in lines]
    assert answer["provenance"]["file"] == "standard input"
    assert answer["provenance"]["format"] == "jsonl"


# ---- Chat templates -----------------------------------------------------------------------------


class Generation(Extension):
    """transformers' {% generation %}: renders its body."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.Scope(body, lineno=line)


def python_chat(request):
    """The text that transformers' apply_chat_template gives, or None when the template refuses."""

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(
            value,
            ensure_ascii=ensure_ascii,
            indent=indent,
            separators=separators,
            sort_keys=sort_keys,
        )

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    now = datetime.datetime(2024, 7, 26, 12, 0)
    environment.globals["strftime_now"] = now.strftime
    variables = {
        **request["variables"],
        "messages": request["messages"],
        "tools": None,
        "documents": None,
        "add_generation_prompt": request["add_generation_prompt"],
        **request["extra"],
    }
    try:
        return environment.from_string(request["template"]).render(**variables)
    except (jinja2.exceptions.TemplateError, TypeError):
        return None


CHATML = """\
{% for message in messages %}
{%- if loop.first and message.role != 'system' -%}
<|im_start|>system
You are helpful.<|im_end|>
{% endif %}
<|im_start|>{{ message['role'] }}
{{ message['content'] }}<|im_end|>
{% endfor %}
{% if add_generation_prompt %}
<|im_start|>assistant
{% endif %}
"""

LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}"
    "{% set loop_messages = messages %}{% set system_message = false %}{% endif %}"
    "{% for message in loop_messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate user/assistant/user/assistant') }}{% endif %}"
    "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}"
    "{% endif %}{% endfor %}"
)

LLAMA3 = """\
{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "1 Jan 2000" %}
    {%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: tools\\n" }}
{%- endif %}
{{- "Today: " + date_string + "\\n\\n" }}
{%- if tools is not none %}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("one tool call at a time") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
        {{- '{"name": "' + tool_call.name + '", ' }}
        {{- '"parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}<|eot_id|>" }}
    {%- else %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable and message.content is not string %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

MISTRAL = """\
{%- set ns = namespace(count=0, system=none) %}
{%- for message in messages %}
    {%- if message["role"] == "system" %}
        {%- set ns.system = message["content"] %}
        {%- continue %}
    {%- endif %}
    {%- if (message["role"] == "user") != (ns.count % 2 == 0) %}
        {{- raise_exception("After the optional system message, roles must alternate") }}
    {%- endif %}
    {%- set ns.count = ns.count + 1 %}
{%- endfor %}
{{- bos_token }}
{%- for message in messages if message.role != "system" %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and ns.system is not none %}
            {{- "[INST] " + ns.system + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- else %}
        {{- " " + message["content"]|trim + eos_token }}
    {%- endif %}
{%- endfor %}
"""

GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}"
    "{% else %}{% set role = message['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)

PYTHONIC = """\
{%- macro turn(role, text='', thinking=false) %}
[{{ role.title() }}{% if thinking %} (thinking){% endif %}] {{ text }}
{%- endmacro %}
{%- for message in messages[::-1] %}
{%- if loop.index0 > 8 %}{% break %}{% endif %}
{%- set content = message.content if message.content is string else message.get('content', [])|map(attribute='text')|select|join(' ') %}
{%- if '</think>' in content %}
{%- set content = content.split('</think>')[-1].lstrip('\\n') %}
{%- endif %}
{% generation %}{{ turn(message.role, content.replace('<', '(').rstrip()) }}{% endgeneration %}
{%- if content.startswith('H') and not content.endswith('?') %} {{ content.upper()[:5] }}{% endif %}
{%- for key, value in message.items()|sort %} {{ key }}={{ value is string }}{% endfor %}
{{- loop.cycle(' odd', ' even') }} {{ [1, 2.5, true, none, 'x'] }} {{ loop.nextitem is defined }}
{% endfor %}
{{ messages | length }} {{ messages | map(attribute='role') | unique | join(',') }}
{{ missing is defined }} {{ missing }}{{ (messages | selectattr('role', 'equalto', 'user') | list)[0].content | default('-') }}
{{ messages | tojson }} {{ {'b': 1, 'a': [1, {'c': 'é<>&\\'"'}]} | tojson(indent=2) }}
{{ "%s-%d" | format("x", 3) }} {{ 7 // 2 }} {{ 7 / 2 }} {{ 2 ** 3 }} {{ -7 % 3 }} {{ 'a' ~ 1 }} {{ "a" * 3 }}
"""

CONVERSATIONS = [
    [{"role": "user", "content": "Hi there?"}],
    [
        {"role": "user", "content": "  What is <b>2+2</b> & why?\n"},
        {"role": "assistant", "content": " 4, naïvely. 👍 "},
        {"role": "user", "content": "Hm."},
    ],
    [
        {"role": "system", "content": "Answer in Zürich German.\n"},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "<think>\nwell\n</think>\n\nHoi"},
    ],
    [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
    [
        {"role": "user", "content": "Weather in Bern?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"function": {"name": "weather", "arguments": {"place": "Bern", "days": 3}}}
            ],
        },
        {"role": "tool", "content": {"sky": "bleu clair é", "degrees": 21.5}},
    ],
    [{"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]}],
]

TOOLS = [{"name": "weather", "parameters": {"place": {"type": "string", "enum": []}, "days": {}}}]


@pytest.mark.parametrize("prompt", [False, True])
@pytest.mark.parametrize(
    "template",
    [CHATML, LLAMA2, LLAMA3, MISTRAL, GEMMA, PYTHONIC],
    ids=["chatml", "llama2", "llama3", "mistral", "gemma", "pythonic"],
)
def test_chat_templates_equal_jinja2(template, prompt):
    requests = [
        {
            "template": template,
            "messages": messages,
            "variables": {"bos_token": "<s>", "eos_token": "</s>"},
            "extra": extra,
            "add_generation_prompt": prompt,
        }
        for messages in CONVERSATIONS
        for extra in ({}, {"tools": TOOLS})
    ]
    rendered = 0
    for request, answer in zip(requests, helper("chat", requests=requests), strict=True):
        expected = python_chat(request)
        assert answer.get("text") == expected, answer
        rendered += expected is not None
    print("rendered", rendered, "of", len(requests))
    assert rendered > 0
