"""What the metadata say of losses and of activations, against sums that are made here."""

import itertools

import numpy as np
import onnx
import onnxruntime
import pytest
from quantize_cli import QUANTIZE, metadata, quantized
from small_models import calibration_ids, llama, save

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("metadata")
    model = llama()
    save(model, folder / "source")
    ids = calibration_ids(folder / "ids.npy")
    quantized(
        folder / "source", folder / "out", "--method", "best", "--group-size", 32, "--calib", ids,
        "--no-propagate",
    )  # fmt: skip
    return model, np.load(ids), metadata(folder / "out")


def coded(described):
    return [linear for linear in described["linears"] if linear["quantized"]]


def close(value):
    """Numbers have four digits there."""
    return pytest.approx(value, rel=1e-3, abs=1e-12)


def test_causes_add_up_to_the_loss(made):
    improved = 0
    for linear in coded(made[2]):
        found = linear["quantized"]
        causes = found["loss_by_cause"]
        assert causes["grid"] + causes["rounding"] == pytest.approx(
            found["relative_loss"], abs=2e-3 * causes["grid"]
        )
        assert causes["propagation"] is None
        assert causes["activation"] == close(found["relative_activation_loss"])
        assert found["relative_loss"] <= found["relative_loss_rtn"]
        improved += causes["rounding"] < 0
    assert improved > 0


def test_standings_are_those_of_the_losses(made):
    linears = coded(made[2])
    loss = {linear["name"]: linear["quantized"]["relative_loss"] for linear in linears}
    for linear in linears:
        standing = linear["quantized"]["standing"]
        own = loss[linear["name"]]
        kind = [x for x in linears if x["name"].split(".")[-1] == linear["name"].split(".")[-1]]
        size = [x for x in linears if x["n"] * x["k"] == linear["n"] * linear["k"]]
        for key, group in (("", linears), ("_in_kind", kind), ("_in_size", size)):
            losses = [loss[x["name"]] for x in group]
            assert standing["place" + key] == 1 + sum(x > own for x in losses)
        assert standing["of"] == len(linears) and standing["of_kind"] == len(kind)
        assert standing["median_of_kind"] == close(np.median([loss[x["name"]] for x in kind]))
        assert standing["layer"] == int(linear["name"].split("layers.")[1].split(".")[0])


def test_salience_is_the_mean_magnitude_of_the_activations(made):
    model, samples, described = made
    assert described["sites"]
    sites = {site["name"]: site for site in described["sites"]}
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    known = {output.name for output in probed.graph.output}
    for name in sites.keys() - known:
        probed.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    session = onnxruntime.InferenceSession(probed.SerializeToString())
    sums, tokens = dict.fromkeys(sites, 0), 0
    for ids in samples:
        found = session.run(list(sites), {"input_ids": ids[None].astype(np.int64)})
        tokens += len(ids)
        for name, values in zip(sites, found, strict=True):
            sums[name] = sums[name] + np.abs(values.reshape(-1, values.shape[-1])).sum(0)
    for name, site in sites.items():
        assert site["calibration_tokens"] == tokens
        mean = sums[name] / tokens
        salience = site["salience"]
        assert salience["channels"] == len(mean)
        bins = min(64, len(mean))
        edges = [i * len(mean) // bins for i in range(bins + 1)]
        expected = [mean[a:b].max() for a, b in itertools.pairwise(edges)]
        assert salience["mean_abs"] == [close(x) for x in expected]
        assert salience["top_channels"][0]["mean_abs"] == close(mean.max())
        assert mean[salience["top_channels"][0]["channel"]] == close(mean.max())
        assert salience["median"] == close(np.sort(mean)[len(mean) // 2])


def test_every_alpha_that_was_tried_is_told(made):
    for site in made[2]["sites"]:
        tried = {trial["scaling"]: trial for trial in site["trials"]}
        if not tried:
            continue
        assert tried["none"]["alpha"] == [0]
        for scaling, trial in tried.items():
            assert len(trial["alpha"]) == len(trial["relative_loss"]), scaling
            assert all(loss > 0 for loss in trial["relative_loss"])
        if site["scaling"] != "none":
            assert site["alpha"] in [close(alpha) for alpha in tried[site["scaling"]]["alpha"]]
    assert any(site["trials"] for site in made[2]["sites"])
