"""A destination that is the name of a model file: what is written, what is replaced, after a kill too."""

import json
import shutil

import onnx
import pytest
from quantize_cli import QUANTIZE, quantize
from small_models import encoder_decoder, llama, save

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

NOTE = "three years of work\n"
NAMES = ["out.onnx", "out.onnx.data", "out.onnx.json"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("single")
    save(llama(layers=2), folder / "m", external=True)
    for bits in (4, 8):
        assert run(folder, "--bits", bits).returncode == 0
        (folder / f"{bits} bits").mkdir()
        for name in NAMES:
            (folder / name).rename(folder / f"{bits} bits" / name)
    return folder


@pytest.fixture
def place(prepared, tmp_path):
    """A folder with a model and somebody's file."""
    shutil.copytree(prepared / "m", tmp_path / "m")
    (tmp_path / "notes.txt").write_text(NOTE)
    return tmp_path


def run(place, *arguments):
    return quantize(
        "run", place / "m", place / "out.onnx", "--method", "rtn", *arguments, cwd=place
    )


def tree(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def files(folder):
    return {name: (folder / name).read_bytes() for name in NAMES if (folder / name).exists()}


def refused(result, *parts):
    assert result.returncode == 5, result.stderr
    assert result.stderr.count("\n") == 1
    assert all(part in result.stderr for part in parts), result.stderr


def nothing_hidden(folder):
    return not [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_a_model_its_data_and_its_metadata_are_written_beside_other_files(place):
    before = tree(place)
    done = run(place)
    assert done.returncode == 0, done.stderr
    after = tree(place)
    assert set(after) - set(before) == set(NAMES)
    assert {name: after[name] for name in before} == before
    onnx.load(place / "out.onnx")
    assert json.loads(after["out.onnx.json"])["recipe"]["bits"] == 4
    assert str(place / "out.onnx") in done.stdout


def test_only_what_a_run_wrote_is_replaced(place):
    (place / "out.onnx").write_text(NOTE)
    for arguments in ([], ["--overwrite"]):
        refused(run(place, *arguments), "out.onnx", "never replaced")
    (place / "out.onnx").unlink()
    assert run(place).returncode == 0
    first = files(place)
    refused(run(place, "--bits", 8), "out.onnx' exists already", "--overwrite")
    assert files(place) == first
    report = json.loads(run(place, "--bits", 8, "--overwrite", "--json").stdout)
    assert report["destination"] == str(place / "out.onnx")
    assert json.loads((place / "out.onnx.json").read_text())["recipe"]["bits"] == 8
    onnx.load(place / "out.onnx")
    assert nothing_hidden(place)


def test_the_same_command_again_is_up_to_date(place):
    assert run(place).returncode == 0
    first = {name: (place / name).stat().st_mtime_ns for name in NAMES}
    report = json.loads(run(place, "--json").stdout)
    assert report["up_to_date"] is True and report["destination"] == str(place / "out.onnx")
    assert {name: (place / name).stat().st_mtime_ns for name in NAMES} == first
    assert json.loads(run(place, "--json", "--force").stdout)["up_to_date"] is False
    (place / "out.onnx.data").unlink()
    refused(run(place), "'out.onnx.data' is no longer there")


def test_a_model_in_the_folder_onnx_is_written_under_the_given_name(place):
    (place / "m" / "onnx").mkdir()
    for path in [path for path in (place / "m").iterdir() if path.is_file()]:
        path.rename(place / "m" / "onnx" / path.name)
    assert run(place).returncode == 0
    onnx.load(place / "out.onnx")
    assert set(files(place)) == set(NAMES) and nothing_hidden(place)


def killed(place, prepared, moved):
    """A run of 8 bits that was killed while its files took their names from those of 4 bits."""
    staged = place / ".out.onnx.result"
    staged.mkdir()
    shutil.copytree(prepared / "8 bits", staged, dirs_exist_ok=True)
    order = ["out.onnx", "out.onnx.data", "out.onnx.json"]  # models leave first
    (staged / ".previous").mkdir()
    for name in NAMES:
        shutil.copy2(prepared / "4 bits" / name, place / name)
    for name in order[:moved]:
        (place / name).rename(staged / ".previous" / name)
    return staged


@pytest.mark.parametrize("moved", [0, 1, 3])
def test_a_run_killed_before_its_files_take_their_names_is_taken_back(place, prepared, moved):
    killed(place, prepared, moved)
    refused(run(place, "--bits", 8), "exists already")
    assert files(place) == files(prepared / "4 bits")
    assert nothing_hidden(place)


@pytest.mark.parametrize("placed", [0, 1, 2, 3])
def test_a_run_killed_while_its_files_take_their_names_is_completed(place, prepared, placed):
    staged = killed(place, prepared, 3)
    (staged / ".placing").touch()
    for name in ["out.onnx.data", "out.onnx.json", "out.onnx"][:placed]:  # models come last
        (staged / name).rename(place / name)
    refused(run(place, "--bits", 4), "exists already")
    assert files(place) == files(prepared / "8 bits")
    assert nothing_hidden(place)


def test_a_result_without_its_name_is_listed_removed_and_in_nobodys_way(place, prepared):
    staged = place / ".out.onnx.result"
    shutil.copytree(prepared / "8 bits", staged)
    listed = json.loads(quantize("clean", place, "--dry-run", "--json").stdout)["leftovers"]
    assert [(one["path"], one["what"]) for one in listed] == [(str(staged), "finished model")]
    assert quantize("clean", place).returncode == 0 and not staged.exists()
    shutil.copytree(prepared / "8 bits", staged)
    assert run(place).returncode == 0
    assert nothing_hidden(place)


def test_the_source_is_no_destination(place):
    model = place / "m" / "model.onnx"
    before = tree(place)
    done = quantize("run", model, model, "--method", "rtn", "--overwrite")
    assert done.returncode == 5 and "quantize: " in done.stderr
    assert tree(place) == before


def test_several_models_are_no_single_file(tmp_path):
    for name, model in encoder_decoder().items():
        onnx.save(model, tmp_path / f"{name}.onnx")
    done = quantize("run", tmp_path, tmp_path / "new.onnx", "--method", "rtn")
    assert done.returncode == 2 and "several models" in done.stderr
