"""Checks the calibration prompts inside the program (standard library only)."""

import json
import math
import re
from collections import Counter
from pathlib import Path

CALIBRATION = Path(__file__).resolve().parents[2] / "data" / "calibration"
DOMAINS = {"conversation", "instruction", "code", "technical", "world_knowledge", "multilingual"}


def load():
    lines = (CALIBRATION / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def plain_text(prompt):
    if "text" in prompt:
        return prompt["text"]
    return "\n".join(message["content"] for message in prompt["messages"])


def rough_tokens(text):
    """Estimates tokens: six Latin letters, three digits, or one other character for each."""
    count = 0
    for piece in re.findall(r"[A-Za-z]+|[0-9]+|[^\sA-Za-z0-9]", text):
        if piece[0].isascii() and piece[0].isalpha():
            count += math.ceil(len(piece) / 6)
        elif piece.isdigit() and piece.isascii():
            count += math.ceil(len(piece) / 3)
        else:
            count += 1
    return count


def shingles(text, size=8):
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}


def test_there_are_at_least_192_prompts():
    assert len(load()) >= 192


def test_every_line_has_exactly_the_documented_fields():
    for number, prompt in enumerate(load(), 1):
        content = set(prompt) - {"domain", "language"}
        assert {"domain", "language"} <= set(prompt), number
        assert content in ({"text"}, {"messages"}), number
        assert prompt["domain"] in DOMAINS, number
        assert re.fullmatch(r"[a-z]{2}(-[A-Z][a-z]{3})?(-[A-Z]{2})?", prompt["language"]), number
        assert plain_text(prompt).strip() == plain_text(prompt), number


def test_messages_alternate_after_an_optional_system_message():
    for number, prompt in enumerate(load(), 1):
        if "messages" not in prompt:
            continue
        messages = prompt["messages"]
        assert all(set(message) == {"role", "content"} for message in messages), number
        assert all(message["content"] for message in messages), number
        roles = [message["role"] for message in messages]
        turns = roles[1:] if roles[0] == "system" else roles
        assert len(turns) >= 2, number
        assert turns == [("user", "assistant")[i % 2] for i in range(len(turns))], number


def test_about_a_quarter_of_the_lines_are_dialogues_with_roles():
    prompts = load()
    share = sum("messages" in prompt for prompt in prompts) / len(prompts)
    assert 0.2 <= share <= 0.35


def test_every_domain_has_at_least_thirty_prompts():
    counts = Counter(prompt["domain"] for prompt in load())
    assert set(counts) == DOMAINS
    assert min(counts.values()) >= 30


def test_there_are_at_least_eight_languages_beside_english():
    prompts = load()
    for prompt in prompts:
        assert (prompt["domain"] == "multilingual") == (prompt["language"] != "en")
    assert len({prompt["language"].split("-")[0] for prompt in prompts} - {"en"}) >= 8


def test_no_two_prompts_are_equal_open_alike_or_share_a_passage():
    texts = [plain_text(prompt) for prompt in load()]
    assert len({re.sub(r"\W+", " ", text.lower()) for text in texts}) == len(texts)
    assert len({text[:18] for text in texts}) == len(texts)
    owner = {}
    for number, text in enumerate(texts, 1):
        for shingle in shingles(text):
            first = owner.setdefault(shingle, number)
            assert first == number, f"lines {first} and {number} share '{' '.join(shingle)}'"


def test_sizes_lie_between_20_and_500_estimated_tokens_and_vary():
    sizes = [rough_tokens(plain_text(prompt)) for prompt in load()]
    assert min(sizes) >= 20
    assert max(sizes) <= 500
    assert sum(size < 100 for size in sizes) >= len(sizes) / 6
    assert sum(size >= 250 for size in sizes) >= len(sizes) / 6


def test_texts_are_clean_unicode():
    for number, prompt in enumerate(load(), 1):
        text = plain_text(prompt)
        assert "\ufffd" not in text, number
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text), number


def test_any_prefix_of_the_file_is_a_mixture():
    assert {prompt["domain"] for prompt in load()[:16]} == DOMAINS


def test_the_card_states_the_true_counts():
    card = (CALIBRATION / "README.md").read_text(encoding="utf-8")
    prompts = load()
    assert f"holds {len(prompts)} short texts" in card
    for domain, count in Counter(prompt["domain"] for prompt in prompts).items():
        dialogues = sum("messages" in prompt for prompt in prompts if prompt["domain"] == domain)
        assert f"| {domain} | {count} | {dialogues} |" in card
    for language, count in Counter(prompt["language"] for prompt in prompts).items():
        assert f"({language}) | {count} |" in card
