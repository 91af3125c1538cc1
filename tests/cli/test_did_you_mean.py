"""Wrong words on the command line: each is named, with the right one or what would be right."""

import pytest
from quantize_cli import QUANTIZE, metadata, quantize
from small_models import calibration_ids, llama, save

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)


def usage(*arguments, **options):
    """The one line of a usage error, without the program's name."""
    done = quantize(*arguments, **options)
    assert (done.returncode, done.stdout) == (2, ""), (done.returncode, done.stdout, done.stderr)
    (line,) = done.stderr.splitlines()
    assert line.startswith("quantize: ") and len(line) < 400, line
    return line.removeprefix("quantize: ")


# Whatever is wrong with words is found before the model is opened.
ABSENT = "no/such/model.onnx"


@pytest.mark.parametrize(
    "words,right",
    [
        (["runn"], "'run'"),
        (["Run"], "'run'"),
        (["insepct"], "'inspect'"),
        (["ev"], "'eval'"),
        (["help", "rnu"], "'run'"),
        (["run", ABSENT, "--bist", "4"], "'--bits'"),
        (["run", ABSENT, "--group"], "'--group-size'"),
        (["run", ABSENT, "--groupsize=32"], "'--group-size'"),
        (["run", ABSENT, "-bits", "4"], "'--bits'"),
        (["run", ABSENT, "-output", "x"], "'--output'"),
        (["run", ABSENT, "--dryrun"], "'--dry-run'"),
        (["--thread", "1", "run", ABSENT], "'--threads'"),
        (["run", ABSENT, "-out", "x"], "'--output'"),
        (["eval", ABSENT, "--againts", "x"], "'--against'"),
        (["run", ABSENT, "--method", "awqgptq"], "'awq-gptq'"),
        (["run", ABSENT, "--method", "gtpq"], "'gptq'"),
        (["run", ABSENT, "--scaling", "awqduo"], "'awq-duo'"),
        (["run", ABSENT, "--grid", "serach"], "'search'"),
        (["run", ABSENT, "--rounding", "ada"], "'adaround'"),
        (["run", ABSENT, "--format", "matmulnbit"], "'matmulnbits'"),
        (["run", ABSENT, "--layout", "transformersjs"], "'transformers.js'"),
        (["run", ABSENT, "--lm-head", "f16"], "'fp16'"),
        (["run", ABSENT, "--calib-split", "lines"], "'line'"),
        (["eval", ABSENT, "--text", "x", "--task", "embedding"], "'embed'"),
    ],
    ids=" ".join,
)
def test_nearest_word(words, right):
    assert f"did you mean {right}?" in usage(*words)


def test_words_that_resemble_nothing():
    assert usage("fly").endswith("; there are run, stats, calib build, calib check, calib generate, eval, "
                                     "analyze, compare, sweep, batch, recalibrate, bundle, verify, inspect, forward, clean, recipes, "
                                     "operators, version, help, completion")  # fmt: skip
    assert "see 'quantize help run'" in usage("run", ABSENT, "--unheard")
    assert "did you mean" not in usage("run", ABSENT, "--method", "xyz")


def test_a_model_in_place_of_the_command(tmp_path):
    assert "did you mean 'quantize run model.onnx'?" in usage("model.onnx")
    assert f"'quantize run {tmp_path}'" in usage(tmp_path)


def test_an_option_of_another_command():
    line = usage("run", ABSENT, "--against", "x")
    assert "'--against'" in line and line.endswith("it belongs to eval, analyze, compare, forward")


@pytest.mark.parametrize(
    "option,value,choices",
    [
        ("--bits", "5", "2, 3, 4, 7, 8"),
        ("--bits", "4.0", "2, 3, 4, 7, 8"),
        ("--group-size", "33", "16, 32, 64, 128, 256, channel"),
        ("--method", "xyz", "rtn, awq, smoothquant, gptq, awq-gptq, adaround, int8, best, fp16"),
        ("--scaling", "x", "none, awq, awq-duo, smooth"),
        ("--grid", "x", "minmax, clip, search, block"),
        ("--rounding", "x", "nearest, gptq, descent, adaround"),
        ("--format", "x", "matmulnbits, qdq, matmulinteger, fake-quant, nf4, fp4, qmoe"),
        ("--lm-head", "x", "fp16, int8, int4, keep"),
        ("--bias-correction", "x", "none, present, all"),
        ("--calib-long", "x", "window, truncate"),
        ("--accuracy-level", "5", "auto, 0, 1, 2, 3, 4"),
        ("--weights", "int8", "u8, s8"),
        ("--activation-bits", "4", "8, 16"),
        ("--activation-range", "kl", "minmax, percentile, mse, entropy"),
    ],
)
def test_choices(option, value, choices):
    assert usage("run", ABSENT, option, value).startswith(f"{option}: '{value}' is none of {choices}")
    assert usage("run", ABSENT, f"{option}={value}").startswith(f"{option}: '{value}' is none")


@pytest.mark.parametrize(
    "option,value,range_",
    [
        ("--seq-len", "-1", "a whole number of 1 or more"),
        ("--seq-len", "0", "a whole number of 1 or more"),
        ("--seq-len", "1e3", "a whole number of 1 or more"),
        ("--seq-len", "99999999999999999999", "a whole number from 1 to 2147483647"),
        ("--calib-samples", "4.0", "a whole number of 1 or more"),
        ("--calib-samples", "0x10", "a whole number of 1 or more"),
        ("--seed", "-1", "a whole number of 0 or more"),
        ("--refine", "21", "a whole number from 0 to 20"),
        ("--shrinkage", "1.5", "a number from 0 to 1"),
        ("--shrinkage", "nan", "a number from 0 to 1"),
        ("--checkpoint-seconds", "-2", "a number of 0 or more"),
        ("--checkpoint-seconds", "1e400", "a number of 0 or more"),
        ("--memory-budget", "3XB", "a size; write it like 3GiB, 900MiB or 1048576"),
    ],
)
def test_numbers(option, value, range_):
    assert usage("run", ABSENT, option, value) == f"{option}: '{value}' is not {range_}"


def test_number_of_threads():
    line = usage("run", ABSENT, threads="-1")
    assert line == "--threads: '-1' is not a whole number from 0 to 4096"


@pytest.mark.parametrize(
    "words,message",
    [
        (["run"], "SRC is missing"),
        (["run", ABSENT, "--bits"], "--bits needs a value: 2|3|4|7|8"),
        (["run", ABSENT, "--bits="], "--bits needs a value: 2|3|4|7|8"),
        (["run", ABSENT, "--method", "--bits", "4"], "--method needs a value: rtn|awq"),
        (["run", ABSENT, "out", "more"], "'more' is one word too many for 'quantize run SRC [DST]'"),
        (["run", ABSENT, "b", "a", "c"], "'a' is one word too many"),
        (["run", ABSENT, "--bits", "4", "--bits", "8"], "--bits is given twice, as '4' and '8'"),
        (["run", ABSENT, "--json=4"], "--json is a switch and takes no value"),
        (["run", ABSENT, "--calib", "x", "--stats", "y"], "exclude each other"),
        (["run", ABSENT, "--exclude", "/(/"], "--exclude: '/(/' is no regular expression (unclosed group)"),
        (["run", ABSENT, "--include", "/[/"], "--include: '/[/' is no regular expression (unclosed character class)"),
        (["run", "--exclude", "a", ABSENT], "--exclude takes all words behind it"),
        (["eval", ABSENT], "--text is missing"),
        (["stats", ABSENT], "--output is missing"),
        (["run", ABSENT, "-x"], "there is no option '-x'"),
        (["run", "", "out"], "SRC needs a value"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_missing_or_too_much(words, message):
    assert message in usage(*words)


def test_control_characters_do_not_reach_the_terminal():
    assert "\x1b" not in usage("run", ABSENT, "--method", "\x1b[31mred")
    assert len(usage("run", ABSENT, "--method", "x" * 10000)) < 300


def test_wrong_values_come_before_missing_ones():
    assert usage("run", "--method", "xyz").startswith("--method: 'xyz'")


@pytest.fixture
def source(tmp_path):
    return save(llama(), tmp_path / "tiny")


def test_underscores_capitals_and_short_names(source, tmp_path):
    words = ["--Group_Size".lower(), "32", "--method", "AWQ_GPTQ", "--lm_head=KEEP", "--dry_run"]
    words += ["--calib", calibration_ids(tmp_path / "ids.npy")]
    done = quantize("run", source, "-o", tmp_path / "out", *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert str(tmp_path / "out") in done.stdout and "int4 g32" in done.stdout


@pytest.mark.parametrize(
    "words",
    [["-o", "OUT"], ["-oOUT"], ["--output", "OUT"], ["--output=OUT"], ["--dst", "OUT"], ["OUT"]],
    ids=" ".join,
)
def test_names_of_the_destination(source, tmp_path, words):
    names = [word.replace("OUT", "out") for word in words]
    done = quantize("run", "-q", "tiny", *names, "--method", "rtn", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert metadata(tmp_path / "out")["recipe"]["method"] == "rtn"


def test_options_stand_anywhere(source, tmp_path):
    done = quantize("run", "--bits=8", "--method=rtn", "--dry-run", "--", source, tmp_path / "-out")
    assert (done.returncode, done.stderr) == (0, "") and "int8" in done.stdout
    done = quantize("--bits", 8, "run", source, "--dry-run", "--method", "rtn")
    assert (done.returncode, done.stderr) == (0, "") and "int8" in done.stdout
    done = quantize("run", source, "--dry-run", "-qv", "--json=false", "--method=rtn")
    assert done.returncode == 0 and done.stdout.startswith("linear")


@pytest.mark.parametrize(
    "value,words",
    [
        ("percentile:200", "a number from 50 to 100"),
        ("percentile:", "a number from 50 to 100"),
        ("mse:99", "only percentile has a number behind it"),
    ],
)
def test_ranges_of_activations(value, words):
    assert words in usage("run", ABSENT, "--activation-range", value)


def test_names_of_the_runtimes_quantizer(tmp_path):
    """--weights and --reduce-range say what --symmetric and --bits say, and contradict them."""
    source = save(llama(), tmp_path / "source")
    ids = calibration_ids(tmp_path / "ids.npy")

    def recipe(*options):
        folder = tmp_path / "-".join(options)
        done = quantize("run", source, folder, *options, "--calib", ids)
        assert done.returncode == 0, done.stderr
        wrote = metadata(folder)["recipe"]
        return wrote["symmetric"], wrote["bits"]

    assert recipe("--method", "int8") == (False, 8)
    assert recipe("--method", "int8", "--weights", "s8") == (True, 8)
    assert recipe("--method", "int8", "--weights", "s8", "--reduce-range") == (True, 7)
    assert recipe("--method", "int8", "--activations", "static", "--weights", "u8") == (False, 8)
    for options in (["--weights", "u8", "--symmetric"], ["--reduce-range", "--bits", "8"]):
        assert "exclude each other" in usage("run", ABSENT, "--method", "int8", *options)
    assert "did you mean --asymmetric?" in usage("run", ABSENT, "--bits", "4", "--weights", "u8")
    assert "did you mean --symmetric?" in usage("run", ABSENT, "--weights", "s8")
