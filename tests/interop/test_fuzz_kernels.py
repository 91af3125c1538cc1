"""Random cases of operators against ONNX Runtime (fuzz_kernels.py): the same ones every time, so that a
change is judged, or those of PTQ_FUZZ_SEED."""

import os

import numpy as np
import pytest
from fuzz_kernels import describe, differences, draw, expected_of, search
from quantize_cli import QUANTIZE, summarize

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)


def test_a_difference_is_found(tmp_path):
    rng = np.random.default_rng(5)
    case = draw(rng, ["Add"])
    while not case[3][case[1][0]].size:
        case = draw(rng, ["Add"])
    (right,) = expected_of(case)
    assert differences([case, case], [[right], [right]], tmp_path) == {}
    assert differences([case, case], [[right], [right + 1]], tmp_path)[1].startswith("differs")
    assert "instead of" in differences([case], [[right.ravel()[None]]], tmp_path)[0]


@pytest.mark.slow
def test_random_cases_agree_with_onnx_runtime():
    seed = int(os.environ.get("PTQ_FUZZ_SEED", 1))
    count, findings = search(seed, seconds=600, models=600)
    summarize("Random cases of operators", f"seed {seed}: {count} cases")
    assert not findings, f"seed {seed}: " + "\n".join(describe(*finding) for finding in findings)
    assert count > 5000
