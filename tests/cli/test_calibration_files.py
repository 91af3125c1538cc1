"""Calibration data as data sets hold it: Parquet, packed files, patterns, fields, pairs."""

import json

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper
from quantize_cli import QUANTIZE, metadata, quantize
from small_models import Builder, encoder, llama, save, word_tokenizer

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)
CODECS = ["none", "snappy", "gzip", "zstd", "lz4", "brotli"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A decoder with a tokenizer of the words w0 ... w91."""
    folder = save(llama(), tmp_path_factory.mktemp("models") / "source")
    word_tokenizer(folder / "tokenizer.json")
    return folder


def texts(count, words=12):
    return [" ".join(f"w{(7 * i + j) % 90}" for j in range(words)) for i in range(count)]


def statistics(source, tmp_path, calib, *arguments):
    """What `quantize stats` says of the samples it has read."""
    done = quantize("stats", source, "-o", tmp_path / "x.stats", "--calib", calib, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def ids_of(source, tmp_path, calib, *arguments):
    return statistics(source, tmp_path, calib, *arguments)["calibration"]["ids_sha256"]


def as_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("codec", CODECS)
def test_parquet_gives_the_samples_of_the_same_json_lines(source, tmp_path, codec):
    rows = [{"id": i, "text": text if i % 5 else None} for i, text in enumerate(texts(40))]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.dat", compression=codec, row_group_size=7)
    report = statistics(source, tmp_path, tmp_path / "a.dat")["calibration"]
    lines = statistics(source, tmp_path, as_lines(tmp_path / "a.jsonl", rows))["calibration"]
    assert report["format"] == "parquet"
    assert (report["texts_read"], report["texts_empty"]) == (32, 8)
    assert report["ids_sha256"] == lines["ids_sha256"]


def test_nested_columns_of_parquet_are_conversations(source, tmp_path):
    for name, role, content in [("messages", "role", "content"), ("conversations", "from", "value")]:
        rows = [
            {"n": {"x": [i]}, name: [{role: "user", content: text}, {role: "assistant", content: "w5"}]}
            for i, text in enumerate(texts(9))
        ]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=4)
        assert ids_of(source, tmp_path, tmp_path / "a.parquet") == ids_of(
            source, tmp_path, as_lines(tmp_path / "a.jsonl", rows)
        )


def test_a_field_of_parquet_is_a_path_through_structures_and_lists(source, tmp_path):
    rows = [{"doc": {"body": [{"words": text}]}, "text": "w1"} for text in texts(9)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    plain = as_lines(tmp_path / "a.jsonl", [{"text": text} for text in texts(9)])
    assert ids_of(source, tmp_path, f"{tmp_path}/a.parquet:doc.body.words") == ids_of(
        source, tmp_path, plain
    )


def test_strings_of_old_writers_are_bytes_without_a_name(source, tmp_path):
    column = pa.array([text.encode() for text in texts(9)], pa.binary())
    pq.write_table(pa.table({"text": column}), tmp_path / "a.parquet")
    plain = as_lines(tmp_path / "a.jsonl", [{"text": text} for text in texts(9)])
    assert ids_of(source, tmp_path, tmp_path / "a.parquet") == ids_of(source, tmp_path, plain)


def test_a_parquet_file_that_cannot_be_used_says_why(source, tmp_path):
    pq.write_table(pa.table({"id": [1, 2], "label": [3, 4]}), tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[:-9])
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "none.parquet")
    for name, words in [("a", "no column of texts (there are: id, label)"),
                        ("cut", "not a readable Parquet file"), ("none", "no usable")]:  # fmt: skip
        done = quantize("stats", source, "-o", tmp_path / "x", "--calib", tmp_path / f"{name}.parquet")
        assert done.returncode == 3, done.stderr
        assert words in done.stderr and f"{name}.parquet" in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_million_rows_are_neither_held_nor_tokenised_whole(source, tmp_path):
    def write(path, count):
        schema = pa.schema([("text", pa.string()), ("rest", pa.string())])
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for begin in range(0, count, 50_000):
                rows = [f"w{i % 90} w{i // 90 % 90} w{i // 8100 % 90} " + "w7 w8 " * 10
                        for i in range(begin, begin + 50_000)]  # fmt: skip
                writer.write_table(pa.table({"text": rows, "rest": rows}, schema))

    write(tmp_path / "small.parquet", 100_000)
    write(tmp_path / "large.parquet", 1_000_000)
    small = statistics(source, tmp_path, tmp_path / "small.parquet")
    large = statistics(source, tmp_path, tmp_path / "large.parquet")
    assert large["calibration"]["texts_read"] == 1_000_000
    assert any("of 1000000 texts a random" in note.lower() for note in large["calibration"]["notes"])
    assert large["peak_resident_bytes"] < small["peak_resident_bytes"] + 40_000_000
    again = statistics(source, tmp_path, tmp_path / "large.parquet")
    assert again["calibration"]["ids_sha256"] == large["calibration"]["ids_sha256"]


def test_zstandard_is_unpacked_whatever_the_name(source, tmp_path):
    plain = as_lines(tmp_path / "a.jsonl", [{"text": text} for text in texts(9)])
    packed = pa.compress(plain.read_bytes(), "zstd", asbytes=True)
    for name in ["a.jsonl.zst", "a.zst", "b"]:
        (tmp_path / name).write_bytes(packed)
        assert ids_of(source, tmp_path, tmp_path / name) == ids_of(source, tmp_path, plain)


def test_a_quoted_pattern_stands_for_files_in_their_order(source, tmp_path):
    for name, start in [("b", 5), ("a", 0)]:
        as_lines(tmp_path / f"{name}.jsonl", [{"text": text} for text in texts(9)[start : start + 4]])
    report = statistics(source, tmp_path, f"{tmp_path}/*.jsonl")["calibration"]
    assert [file["file"] for file in report["files"]] == ["a.jsonl", "b.jsonl"]
    done = quantize("stats", source, "-o", tmp_path / "x", "--calib", f"{tmp_path}/*.csv")
    assert done.returncode == 3 and "no file matches" in done.stderr


def test_a_run_names_its_patterns_in_the_recipe(source, tmp_path):
    as_lines(tmp_path / "a.jsonl", [{"body": {"text": text}} for text in texts(9)])
    done = quantize("run", source, tmp_path / "out", "--bits", 4, "--group-size", 32,
                    "--calib", f"{tmp_path}/*.jsonl:body.text")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert metadata(tmp_path / "out")["calibration"]["file"] == "a.jsonl"


# ---- Pairs --------------------------------------------------------------------------------------


def reranker(folder):
    """A weight behind a sum of what tokens and their types look up, and one score for a text."""
    build = Builder(seed=3)
    table = build.weight((100, 64), "table")
    types = build.weight((2, 64), "types", 1.0)
    seen, score = build.weight((64, 64), "seen"), build.weight((64, 1), "score")
    nodes = [
        helper.make_node("Gather", [table, "input_ids"], ["tokens"]),
        helper.make_node("Gather", [types, "token_type_ids"], ["kinds"]),
        helper.make_node("MatMul", ["kinds", seen], ["of_types"], "/seen/MatMul"),
        helper.make_node("Add", ["tokens", "of_types"], ["both"]),
        helper.make_node("ReduceMean", ["both"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["mean", score], ["logits"], "/score/MatMul"),
    ]
    graph = helper.make_graph(
        nodes, "reranker",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
         for name in ("input_ids", "token_type_ids")],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1])],
        build.initializers,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    save(model, folder)
    content = json.loads(word_tokenizer(folder / "tokenizer.json").read_text())
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {},
    }
    (folder / "tokenizer.json").write_text(json.dumps(content))
    return folder


def test_a_reranker_sees_the_types_of_its_pairs(tmp_path):
    """The site behind the types alone tells which were fed: its mean is that of their vectors."""
    folder = reranker(tmp_path / "model")
    model = onnx.load(folder / "model.onnx")
    table = next(onnx.numpy_helper.to_array(t) for t in model.graph.initializer if t.name == "types")
    rows = [{"query": "w1 w2", "document": " ".join(f"w{i + j}" for j in range(4))} for i in range(30)]
    as_lines(tmp_path / "a.jsonl", rows)
    statistics(folder, tmp_path, tmp_path / "a.jsonl")
    raw = (tmp_path / "x.stats").read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    name = next(key for key in header if "kinds" in key and key.endswith("abs_sum"))
    begin, end = header[name]["data_offsets"]
    dtype = {"F32": np.float32, "F64": np.float64}[header[name]["dtype"]]
    seen = np.frombuffer(raw[8 + size + begin : 8 + size + end], dtype)
    wanted = 30 * (2 * np.abs(table[0]) + 4 * np.abs(table[1]))
    np.testing.assert_allclose(seen, wanted, rtol=1e-4)


def test_an_encoder_reads_each_text_of_a_pair(tmp_path):
    folder = save(encoder(), tmp_path / "model")
    word_tokenizer(folder / "tokenizer.json")
    as_lines(tmp_path / "a.jsonl", [{"query": text, "passage": "w1 w2"} for text in texts(9)])
    assert statistics(folder, tmp_path, tmp_path / "a.jsonl")["calibration"]["texts_read"] == 18
