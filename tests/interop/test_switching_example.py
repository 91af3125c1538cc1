"""The service of examples/switching answers each request with the precision that it asks for."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import urllib.error
import urllib.request

import numpy as np
import pytest

onnxruntime = pytest.importorskip("onnxruntime")
from quantize_cli import QUANTIZE, REPOSITORY, quantize, quantized, run_session, session  # noqa: E402
from small_models import llama, save  # noqa: E402

EXAMPLE = REPOSITORY / "examples" / "switching"
IDS = [[3, 14, 15, 92]]

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A bundle and, by name, what each form gives alone."""
    folder = tmp_path_factory.mktemp("switching")
    save(llama(), folder / "fp32")
    quantized(folder / "fp32", folder / "int4", "--method", "rtn", "--group-size", 32)
    done = quantize("bundle", folder / "fp32", folder / "int4", "--dst", folder / "both")
    assert done.returncode == 0, done.stderr
    expected = {
        name: run_session(session(folder / name / "model.onnx"), {"input_ids": np.array(IDS)})
        for name in ("fp32", "int4")
    }
    return folder / "both", {name: outputs["logits"] for name, outputs in expected.items()}


@pytest.fixture
def address(bundle):
    command = [sys.executable, EXAMPLE / "service.py", bundle[0], "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        try:
            line = service.stdout.readline()
            assert line.startswith("listening on "), line
            yield line.split()[-1]
        finally:
            service.terminate()


def post(address, request):
    body = json.dumps(request).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{address}/run", body)) as answer:
        return json.load(answer)


def test_service_chooses_by_request(bundle, address):
    with urllib.request.urlopen(address) as answer:
        assert json.load(answer) == {"precisions": ["fp32", "int4"], "default": "fp32"}
    for precision in ("int4", "fp32", "int4", None):
        request = {"inputs": {"input_ids": IDS}}
        if precision:
            request["precision"] = precision
        answer = post(address, request)
        taken = precision or "fp32"
        assert answer["precision"] == taken
        logits = np.array(answer["outputs"]["logits"], np.float32)
        np.testing.assert_allclose(logits, bundle[1][taken], rtol=0, atol=1e-5)


def test_service_refuses_a_precision_that_it_does_not_have(address):
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(address, {"inputs": {"input_ids": IDS}, "precision": "int3"})
    assert refused.value.code == 400
    assert "'int3'" in json.load(refused.value)["error"]


def test_service_takes_the_other_form_while_it_is_busy(bundle):
    sys.path.insert(0, str(EXAMPLE))
    try:
        from service import Service, SwitchingModel
    finally:
        sys.path.pop(0)
    service = Service(SwitchingModel(bundle[0]), busy=2)
    assert service.choose(None) == "fp32"
    service.waiting = 3
    assert service.choose(None) == "int4"
    assert service.choose("fp32") == "fp32"


def onnxruntime_headers():
    """A directory with the C++ headers of ONNX Runtime and, beside it, its library; None: not here."""
    given = os.environ.get("PTQ_ONNXRUNTIME")
    places = [given] if given else []
    places += ["/usr", "/usr/local", "/opt/onnxruntime"]
    for place in map(pathlib.Path, places):
        for folder in (place / "include", place / "include" / "onnxruntime"):
            if (folder / "onnxruntime_cxx_api.h").exists():
                return folder, place / "lib"
    return None


def test_cpp_service_gives_the_tokens_of_each_form(bundle, tmp_path):
    found = onnxruntime_headers()
    if found is None or shutil.which("c++") is None:
        pytest.skip("the C++ headers of ONNX Runtime are not here (PTQ_ONNXRUNTIME tells where)")
    headers, libraries = found
    program = tmp_path / "service"
    command = ["c++", "-std=c++17", EXAMPLE / "service.cc", "-o", program, f"-I{headers}",
               f"-L{libraries}", f"-Wl,-rpath,{libraries}", "-lonnxruntime"]  # fmt: skip
    subprocess.run([str(part) for part in command], check=True)
    ids = " ".join(map(str, IDS[0]))
    done = subprocess.run([program, bundle[0]], input=f"fp32 {ids}\nint4 {ids}\n", text=True,
                          capture_output=True, check=True)  # fmt: skip
    expected = [int(bundle[1][name][0, -1].argmax()) for name in ("fp32", "int4")]
    assert [int(line) for line in done.stdout.split()] == expected
