"""Every kind of destination, when a run finishes, is killed, and when the disk is full.

What stands there stays byte for byte, or a complete result takes its place; files that no run wrote
are never lost. docs/destinations.md says it in words.
"""

import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import time

import numpy as np
import onnx
import pytest
from quantize_cli import QUANTIZE, metadata, quantize
from small_models import calibration_ids, encoder_decoder, llama, save

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

NOTE = "precious\n"


def tree(folder):
    """Everything below a folder, but for what runs work in: contents of files, targets of links."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if any(part.startswith(".") and part.endswith(".part") for part in name.split("/")):
            continue
        if path.is_symlink():
            found[name] = "-> " + os.readlink(path)
        else:
            found[name] = path.read_bytes() if path.is_file() else "folder"
    return found


def staging(folder):
    return [path for path in folder.rglob(".*.part") if path.is_dir()]


def refused(done, *words):
    assert done.returncode == 5, (done.returncode, done.stderr)
    (line,) = done.stderr.splitlines()
    assert line.startswith("quantize: ") and done.stdout == ""
    for word in words:
        assert word in line, line


def complete(folder):
    """Asserts that a folder holds all files of a result, and returns their names."""
    files = metadata(folder)["files"]
    assert "model.onnx" in [entry["file"] for entry in files]
    for entry in files:
        assert (folder / entry["file"]).stat().st_size == entry["bytes"]
    onnx.load(folder / "model.onnx")
    return {entry["file"] for entry in files} | {"quantization_metadata.json"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A source with its data beside it, calibration that takes a while, and an earlier result."""
    folder = tmp_path_factory.mktemp("prepared")
    source = save(llama(), folder / "m", external=True)
    (source / "config.json").write_text("{}")
    calibration_ids(folder / "ids.npy", 512, 512)
    done = quantize("run", source, folder / "old", "--method", "rtn", "--bits", 8)
    assert done.returncode == 0, done.stderr
    return folder


class Place:
    """A folder with a source `m`, in which a destination is made ready."""

    def __init__(self, root, prepared):
        self.root, self.prepared = root, prepared
        self.cwd, self.arguments, self.replaced = None, [], {}
        shutil.copytree(prepared / "m", root / "m")

    def result(self, name):
        """An earlier result, which is to be replaced."""
        shutil.copytree(self.prepared / "old", self.root / name)
        self.arguments = ["--overwrite"]
        return self.root / name

    def folder(self, name, **files):
        (self.root / name).mkdir()
        for file, text in files.items():
            (self.root / name / f"{file}.txt").write_text(text)
        return self.root / name

    def link(self, name, target):
        (self.root / name).symlink_to(target)
        return self.root / name

    def inside(self, folder):
        """The destination is the working directory."""
        self.cwd = folder
        return "."


# What takes a result: the destination, as given to the program.
TAKEN = {
    "absent": lambda place: place.root / "out",
    "absent, below folders to make": lambda place: place.root / "a" / "b" / "out",
    "empty": lambda place: place.folder("out"),
    "earlier result": lambda place: place.result("out"),
    "link to an empty folder": lambda place: place.link("link", place.folder("out")),
    "link to an earlier result": lambda place: place.link("link", place.result("out")),
    "working directory": lambda place: place.inside(place.folder("out")),
    "working directory, earlier result": lambda place: place.inside(place.result("out")),
    "inside the source": lambda place: place.root / "m" / "q4",
}


def with_note(place):
    out = place.result("out")
    (out / "note.txt").write_text(NOTE)
    (out / "eval").mkdir()
    (out / "eval" / "scores.txt").write_text(NOTE)
    return out


TAKEN["earlier result with files of the user"] = with_note


def changed_result(place):
    out = place.result("out")
    (out / "config.json").write_text('{"mine": true}')
    return out


def linked_model(place):
    """The source's model file is a link into the earlier result that is to be replaced."""
    out = place.result("out")
    (place.root / "m" / "model.onnx").unlink()
    (place.root / "m" / "model.onnx").symlink_to(out / "model.onnx")
    place.arguments += ["--requantize"]
    return out


def own_source(place):
    """An earlier result is its own source."""
    shutil.rmtree(place.root / "m")
    place.result("m")
    place.arguments += ["--requantize"]
    return place.root / "m"


def parent_with_metadata(place):
    shutil.copy(place.prepared / "old" / "quantization_metadata.json", place.root)
    return place.root


# What takes none, with --overwrite or without.
REFUSED = {
    "folder of the user": lambda place: place.folder("out", thesis=NOTE),
    "file": lambda place: place.folder("out", thesis=NOTE) / "thesis.txt",
    "link to a folder of the user": lambda place: place.link(
        "link", place.folder("out", thesis=NOTE)
    ),
    "link to a file": lambda place: place.link(
        "link", place.folder("out", thesis=NOTE) / "thesis.txt"
    ),
    "link to nothing": lambda place: place.link("link", "nowhere"),
    "working directory of the user": lambda place: place.inside(
        place.folder("out", thesis=NOTE)
    ),
    "source": lambda place: place.root / "m",
    "source, otherwise spelled": lambda place: f"{place.folder('out')}/../m/",
    "source behind a link": lambda place: place.link("link", "m"),
    "source as working directory": lambda place: place.inside(place.root / "m"),
    "source that is an earlier result": own_source,
    "model file": lambda place: place.root / "m" / "model.onnx",
    "parent of the source": lambda place: place.root,
    "parent of the source, with metadata": parent_with_metadata,
    "earlier result that was changed": changed_result,
    "earlier result that the source leads to": linked_model,
}


@pytest.fixture
def place(tmp_path, prepared):
    return Place(tmp_path, prepared)


def run(place, destination, *arguments, **options):
    return quantize(
        "run", place.root / "m", destination, "--method", "rtn", *place.arguments, *arguments,
        cwd=place.cwd, **options,
    )  # fmt: skip


def path_of(place, destination):
    return pathlib.Path(place.cwd) if str(destination) == "." else pathlib.Path(destination)


@pytest.mark.parametrize("kind", TAKEN)
def test_finished_run_gives_a_complete_result(place, kind):
    destination = TAKEN[kind](place)
    before = tree(place.root)
    done = run(place, destination, "--json")
    assert done.returncode == 0, done.stderr
    out = path_of(place, destination)
    own = complete(out)
    assert metadata(out)["recipe"]["bits"] == 4
    sizes = sum((out / name).stat().st_size for name in ("model.onnx", "model.onnx.data"))
    assert json.loads(done.stdout)["bytes_after"] == sizes
    after = tree(place.root)
    folder = out.resolve().relative_to(place.root.resolve())
    for name, content in before.items():  # all but the earlier result is what it was
        if name not in {str(folder / file) for file in own}:
            assert after.get(name) == content, name
    assert not staging(place.root)
    if out.is_symlink() or not place.arguments:
        return
    place.arguments = []
    refused(run(place, destination, "--bits", 8), "--overwrite")


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", REFUSED)
def test_refused_destination_is_left_alone(place, kind, overwrite):
    destination = REFUSED[kind](place)
    arguments = ["--overwrite"] if overwrite else []
    if not overwrite and "--overwrite" in place.arguments:
        place.arguments.remove("--overwrite")
    before = tree(place.root)
    refused(run(place, destination, *arguments))
    assert tree(place.root) == before
    assert not staging(place.root)


def test_refusal_comes_before_any_work(place):
    """The model is not even read."""
    (place.root / "m" / "model.onnx").write_bytes(b"not a model")
    out = place.folder("out", thesis=NOTE)
    refused(run(place, out, "--overwrite"), "thesis.txt")
    refused(run(place, place.root / "m", "--overwrite"), "the source")


def start(place, destination, samples=512):
    """A run that takes a while, from the moment at which it works in its staged directory."""
    command = [
        QUANTIZE, "--threads", 1, "run", place.root / "m", destination, *place.arguments,
        "--calib", place.prepared / "ids.npy", "--calib-samples", samples,
    ]  # fmt: skip
    process = subprocess.Popen(
        [str(word) for word in command],
        cwd=place.cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None:
        if any((path / "lock").exists() for path in staging(place.root)):
            return process
        time.sleep(0.002)
    raise AssertionError(process.communicate()[1])


@pytest.mark.parametrize("kind", TAKEN)
def test_killed_run_leaves_what_was_there_and_the_next_completes(place, kind):
    destination = TAKEN[kind](place)
    before = {k: v for k, v in tree(place.root).items() if v != "folder"}
    process = start(place, destination)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it was faster"
    assert {k: v for k, v in tree(place.root).items() if v != "folder"} == before
    done = run(place, destination)
    assert done.returncode == 0, done.stderr
    complete(path_of(place, destination))
    assert not staging(place.root)


@pytest.mark.parametrize("kind", TAKEN)
def test_full_disk_leaves_what_was_there(place, kind):
    """A limit on the size of files fails writes as a full disk does."""
    destination = TAKEN[kind](place)
    before = {k: v for k, v in tree(place.root).items() if v != "folder"}

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))

    refused(run(place, destination, preexec_fn=limit))
    assert {k: v for k, v in tree(place.root).items() if v != "folder"} == before


@pytest.mark.parametrize("kind", ["folder", "earlier result", "file", "link"])
def test_what_appears_during_a_run_stays_and_the_result_is_kept(place, kind):
    out = place.root / "out"
    process = start(place, out, samples=48)
    if kind == "folder":
        place.folder("out", mine=NOTE)
    elif kind == "earlier result":
        shutil.copytree(place.prepared / "old", out)
    elif kind == "file":
        out.write_text(NOTE)
    else:
        place.link("out", place.folder("target", mine=NOTE))
    before = tree(place.root)
    errors = process.communicate()[1]
    assert process.returncode == 5, errors
    assert "out.new'" in errors.splitlines()[-1]
    after = tree(place.root)
    assert {name: after[name] for name in before} == before
    complete(place.root / "out.new")


# ---- Mount points -------------------------------------------------------------------------------

MOUNT = """mount -t tmpfs -o size=$SIZE tmpfs "$OUT" || exit 77
[ -z "$OLD" ] || cp -a "$OLD/." "$OUT" || exit 77
"$@"; status=$?
cp -a "$OUT/." "$COPY"; exit $status
"""


def mounted(place, *arguments, old="", size="64m"):
    """A run into the root of a file system of its own, and a copy of what is there afterwards."""
    out, copy = place.folder("out"), place.folder("copy")
    command = ["unshare", "-m", "sh", "-c", MOUNT, "sh", QUANTIZE, "--threads", 1, "run"]
    command += [place.root / "m", out, "--method", "rtn", *arguments]
    try:
        done = subprocess.run(
            [str(word) for word in command],
            env={**os.environ, "OUT": str(out), "COPY": str(copy), "OLD": str(old), "SIZE": size},
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("file systems cannot be mounted here")
    return done, copy


def test_mount_point_is_filled(place):
    done, copy = mounted(place, "--json")
    assert done.returncode == 0, done.stderr
    assert set(tree(copy)) == complete(copy)
    assert not staging(copy)
    sizes = sum((copy / name).stat().st_size for name in ("model.onnx", "model.onnx.data"))
    assert json.loads(done.stdout)["bytes_after"] == sizes


def test_result_on_a_mount_point_is_replaced(place):
    done, copy = mounted(place, "--overwrite", old=place.prepared / "old")
    assert done.returncode == 0, done.stderr
    assert set(tree(copy)) == complete(copy)
    assert metadata(copy)["recipe"]["bits"] == 4


def test_full_mount_point_keeps_its_result(place):
    old = place.prepared / "old"
    size = sum(path.stat().st_size for path in old.iterdir()) // 1024 + 60
    done, copy = mounted(place, "--overwrite", old=old, size=f"{size}k")
    refused(done)
    assert tree(copy) == tree(old)


# ---- Names and links that lead elsewhere --------------------------------------------------------


@pytest.mark.parametrize("resume", [[], ["--resume"]])
@pytest.mark.parametrize("name", [".out.part", ".out.part/lock", ".out.part/onnx"])
def test_links_where_a_run_works_are_not_followed(place, name, resume):
    victim = place.folder("victim", thesis=NOTE)
    link = place.root / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(victim)
    before = tree(victim)
    refused(run(place, place.root / "out", "--layout", "transformers.js", *resume), "in the way")
    assert tree(victim) == before and link.is_symlink()


def test_folder_of_the_user_with_the_name_of_a_staged_one(place):
    (place.root / ".out.part").mkdir()
    (place.root / ".out.part" / "thesis.txt").write_text(NOTE)
    refused(run(place, place.root / "out"), "in the way")
    assert (place.root / ".out.part" / "thesis.txt").read_text() == NOTE


@pytest.mark.parametrize("make", [os.symlink, os.link])
def test_statistics_do_not_go_through_links(place, make):
    victim = place.folder("victim", thesis=NOTE) / "thesis.txt"
    ids = calibration_ids(place.root / "ids.npy")
    for name in ("s.part", "s"):
        make(victim, place.root / name)
        done = quantize("stats", place.root / "m", "--out", place.root / "s", "--calib", ids)
        if name == "s.part" or make is os.symlink:
            refused(done, name)
        else:
            assert done.returncode == 0, done.stderr
        (place.root / name).unlink()
        assert victim.read_text() == NOTE


def test_an_output_file_is_none_of_the_inputs(place):
    np.savez(place.root / "in.npz", input_ids=np.zeros((1, 2), np.int64))
    before = tree(place.root)
    for out in ("in.npz", "m/model.onnx", "m/weights.bin"):
        arguments = ["--inputs", place.root / "in.npz", "--out", place.root / out]
        refused(quantize("forward", place.root / "m", *arguments), out)
    ids = calibration_ids(place.root / "ids.npy")
    before = tree(place.root)
    for out in ("ids.npy", "m/model.onnx", "m/weights.bin"):
        arguments = ["--calib", ids, "--out", place.root / out]
        refused(quantize("stats", place.root / "m", *arguments), out)
    assert tree(place.root) == before


def package(folder, config):
    """A folder of two models with a configuration that names them."""
    for name, model in list(encoder_decoder().items())[:2]:
        folder.mkdir(exist_ok=True)
        onnx.save(model, folder / f"{name}.onnx")
    (folder / "genai_config.json").write_text(json.dumps({"model": config}))
    return folder


@pytest.mark.parametrize("name", ["../victim/model.onnx", "{root}/victim/model.onnx", "a/../../v.onnx"])
def test_a_configuration_names_no_model_outside(place, name):
    save(llama(), place.root / "victim")
    shutil.copy(place.root / "victim" / "model.onnx", place.root / "v.onnx")
    config = {
        "encoder": {"filename": "encoder_model.onnx"},
        "decoder": {"filename": name.format(root=place.root)},
    }
    folder = package(place.root / "pkg", config)
    before = tree(place.root)
    done = quantize("run", folder, place.root / "out", "--method", "rtn")
    assert done.returncode == 3 and "genai_config.json" in done.stderr, done.stderr
    assert tree(place.root) == before


@pytest.mark.parametrize("escape", ["../victim/w.bin", "link.bin"])
def test_a_model_that_is_copied_takes_no_data_from_outside(place, escape):
    """A model without linears is copied with the data files that it names."""
    folder = package(place.root / "pkg", {})
    (folder / "genai_config.json").unlink()
    (place.folder("victim") / "w.bin").write_bytes(np.ones(64, np.float32).tobytes())
    (folder / "link.bin").symlink_to(place.root / "victim" / "w.bin")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [64])
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [64])
    weight = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[64])
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=escape)
    node = onnx.helper.make_node("Add", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph([node], "g", [value], [result], [weight])
    imports = [onnx.helper.make_opsetid("", 21)]
    model = onnx.helper.make_model(graph, opset_imports=imports, ir_version=10)
    (folder / "vision_model.onnx").write_bytes(model.SerializeToString())
    before = tree(place.root)
    done = quantize("run", folder, place.root / "out", "--method", "rtn")
    assert done.returncode == 3 and "outside" in done.stderr, done.stderr
    assert tree(place.root) == before
