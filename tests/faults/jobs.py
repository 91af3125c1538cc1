"""The commands that faults meet: each with what stands there before, and its arguments."""

import shutil

from quantize_cli import quantize
from small_models import calibration_ids, encoder_decoder, llama, save

ROUND = ["--method", "rtn", "--group-size", 32]


def succeeded(*arguments):
    done = quantize(*arguments)
    assert done.returncode == 0, done.stderr


def model(folder):
    source = save(llama(), folder / "m", external=True)
    (source / "config.json").write_text("{}")
    calibration_ids(folder / "ids.npy", 8, 24)
    return source


def earlier(folder):
    """An earlier result of other settings."""
    succeeded("run", model(folder), folder / "place" / "out", "--bits", 8, *ROUND)


def fresh(folder):
    model(folder)
    (folder / "place").mkdir()
    return ["run", folder / "m", folder / "place" / "out", *calibrated(folder)]


def calibrated(folder):
    return ["--calib", folder / "ids.npy", "--calib-samples", 8, "--checkpoint-seconds", 0, "--bits", 4,
            "--group-size", 32]  # fmt: skip


def below_new_folders(folder):
    model(folder)
    (folder / "place").mkdir()
    return ["run", folder / "m", folder / "place" / "a" / "b" / "out", *ROUND]


def replaced(folder):
    earlier(folder)
    return ["run", folder / "m", folder / "place" / "out", *calibrated(folder), "--overwrite"]


def beside(folder):
    """What the user has put beside an earlier result stays: files are moved one by one."""
    earlier(folder)
    (folder / "place" / "out" / "note.txt").write_text("precious\n")
    return ["run", folder / "m", folder / "place" / "out", *ROUND, "--bits", 4, "--overwrite"]


def one_file(folder):
    model(folder)
    (folder / "place").mkdir()
    return ["run", folder / "m", folder / "place" / "out.onnx", *ROUND]


def one_file_replaced(folder):
    model(folder)
    (folder / "place").mkdir()
    succeeded("run", folder / "m", folder / "place" / "out.onnx", "--bits", 8, *ROUND)
    return ["run", folder / "m", folder / "place" / "out.onnx", *ROUND, "--overwrite"]


def directory(folder):
    (folder / "m").mkdir(parents=True)
    for part, proto in encoder_decoder().items():
        saved = save(proto, folder / "part")
        shutil.move(saved / "model.onnx", folder / "m" / f"{part}.onnx")
        shutil.rmtree(folder / "part")
    (folder / "place").mkdir()
    return ["run", folder / "m", folder / "place" / "out", *ROUND]


def statistics(folder):
    model(folder)
    (folder / "place").mkdir()
    return ["stats", "--src", folder / "m", "--calib", folder / "ids.npy", "--out", folder / "place" / "s"]


def bundle(folder):
    source = model(folder)
    (folder / "place").mkdir()
    for bits in (4, 8):
        succeeded("run", source, folder / f"w{bits}", "--bits", bits, *ROUND)
    return ["bundle", folder / "w4", folder / "w8", "--dst", folder / "place" / "out"]


def batch(folder):
    model(folder)
    (folder / "place").mkdir()
    return ["batch", folder / "m", "-o", folder / "place" / "out", *ROUND]


JOBS = {
    "run, nothing there": fresh,
    "run, below folders to make": below_new_folders,
    "run, an earlier result": replaced,
    "run, an earlier result and other files": beside,
    "run, to a file": one_file,
    "run, to a file, an earlier one": one_file_replaced,
    "run, of a directory": directory,
    "stats": statistics,
    "bundle": bundle,
    "batch": batch,
}
