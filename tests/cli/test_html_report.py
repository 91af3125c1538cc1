"""--report: what the page holds, when it is refused, and how it behaves in a real Chromium."""

import html.parser
import json
import os
import pathlib
import shutil

import pytest
from chromium import CHROMIUM, chromium
from quantize_cli import QUANTIZE, REPOSITORY, metadata, quantize, quantized
from small_models import calibration_ids, llama, save, word_tokenizer

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)
DEMO = REPOSITORY / "data" / "demo"


class Reader(html.parser.HTMLParser):
    """Sections, rows of tables by their id, and whatever would load something."""

    def __init__(self, text):
        super().__init__()
        self.sections, self.tables, self.loads, self.open = [], {}, [], []
        self._table = self._cell = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag not in ("meta", "link", "img", "input", "br"):
            self.open.append(tag)
        if tag == "section":
            self.sections.append(found["id"])
        if tag == "table":
            self._table = self.tables[found["id"]] = []
        if tag == "tr":
            self._table.append([])
        if tag in ("td", "th"):
            self._cell = []
        if tag in ("link", "img", "iframe", "object", "embed") or "src" in found:
            self.loads.append(tag)
        if not found.get("href", "#").startswith("#"):
            self.loads.append(found["href"])

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag in self.open[-1:]:
            self.open.pop()

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()
        if tag in ("td", "th"):
            self._table[-1].append("".join(self._cell).strip())
            self._cell = None

    def handle_data(self, data):
        if self._cell is not None:
            self._cell.append(data)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    save(llama(), folder / "source")
    word_tokenizer(folder / "source" / "tokenizer.json")
    calibration_ids(folder / "ids.npy")
    return folder


@pytest.fixture(scope="module")
def made(source):
    """A run with a report: the folder, what it printed, and the page."""
    report = source / "made.html"
    printed = quantized(
        source / "source", source / "out", "--calib", source / "ids.npy", "--method", "awq",
        "--group-size", 32, "--report", report,
    )  # fmt: skip
    return source / "out", printed, report


def test_the_page_tells_what_the_metadata_tell(made):
    out, printed, report = made
    page = Reader(report.read_text())
    assert page.open == [] and page.loads == []
    assert page.sections[0] == "summary" and {"depth", "tensors", "sizes"} <= set(page.sections)
    described = metadata(out)
    head, *rows = page.tables["tensors-table"]
    named = {row[head.index("Name")]: row for row in rows}
    assert list(named)[: len(described["linears"])] == [x["name"] for x in described["linears"]]
    for linear in described["linears"]:
        row = named[linear["name"]]
        made_of = linear["quantized"]
        assert row[head.index("Form")] == (made_of["form"] if made_of else linear["decision"])
        assert row[head.index("Bits")] == (str(made_of["bits"]) if made_of else "–")
        assert row[head.index("Reason")] == linear["reason"]
        error = row[head.index("Error")]
        if made_of:
            assert float(error.rstrip(" %")) == pytest.approx(100 * made_of["relative_loss"], rel=0.06)
    _, *kinds = page.tables["sizes-table"]
    assert sum(int(kind[1]) for kind in kinds) == sum(
        len(described[part]) for part in ("linears", "tables", "constants")
    )
    assert printed["bytes_after"] > 0


def test_a_result_that_is_there_gets_its_report(made, source):
    report = source / "again.html"
    printed = quantized(
        source / "source", source / "out", "--calib", source / "ids.npy", "--method", "awq",
        "--group-size", 32, "--report", report,
    )  # fmt: skip
    assert printed["up_to_date"]
    assert Reader(report.read_text()).tables.keys() == Reader(made[2].read_text()).tables.keys()


def test_eval_shows_its_figures_beside_what_was_done(made, source):
    report = source / "eval.html"
    text = source / "text.txt"
    text.write_text("w1 w2 w3 w4\n\nw5 w6 w7\n")
    done = quantize(
        "eval", made[0], "--against", source / "source", "--text", text, "--report", report, "--json"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    page = Reader(report.read_text())
    assert {"evaluation", "tensors"} <= set(page.sections)
    figures = {row[0]: float(row[1]) for row in page.tables["evaluation-figures"][1:]}
    assert figures.keys() == found["units"].keys()
    for name, value in figures.items():
        assert value == pytest.approx(found[name], rel=1e-3)


@pytest.mark.parametrize(
    "where,says",
    [
        ("out/report.html", "is inside"),
        ("absent/report.html", "cannot create"),
        ("source/model.onnx", "is not a report of this program"),
        ("ids.npy", "is what is read"),
        ("mine.txt", "is not a report of this program"),
        ("link.html", "is a link"),
        ("source", "is not a file"),
    ],
)
def test_a_report_that_cannot_be_written_is_refused_before_the_work(source, tmp_path, where, says):
    (tmp_path / "source").mkdir()
    for file in (source / "source").iterdir():
        (tmp_path / "source" / file.name).write_bytes(file.read_bytes())
    calibration_ids(tmp_path / "ids.npy")
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "link.html").symlink_to("mine.txt")
    before = sorted(tmp_path.rglob("*"))
    done = quantize(
        "run", tmp_path / "source", tmp_path / "out", "--calib", tmp_path / "ids.npy",
        "--report", tmp_path / where,
    )  # fmt: skip
    assert done.returncode == 5, done.stderr
    assert says in done.stderr
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_report_may_be_replaced_and_a_dry_run_writes_none(source, tmp_path):
    report = tmp_path / "r.html"
    arguments = ["run", source / "source", tmp_path / "out", "--method", "rtn", "--report", report]
    assert quantize(*arguments, "--dry-run").returncode == 0
    assert list(tmp_path.iterdir()) == []
    assert quantize(*arguments).returncode == 0
    first = report.read_text()
    assert quantize(*arguments, "--bits", 8, "--overwrite").returncode == 0
    assert report.read_text() != first


def test_gates_and_what_fell_back_are_shown(source, tmp_path):
    (tmp_path / "held-out.txt").write_text("w1 w2 w3 w4 w5\n\nw6 w7 w8 w9\n")
    report = tmp_path / "r.html"
    quantized(
        source / "source", tmp_path / "out", "--method", "rtn", "--bits", 2, "--group-size", 32,
        "--gate", "kl<=0.00001", "--gate-text", tmp_path / "held-out.txt", "--report", report,
    )  # fmt: skip
    gate = metadata(tmp_path / "out")["gate"]
    assert gate["fallback"]
    page = Reader(report.read_text())
    assert "The gate is passed." in report.read_text()
    _, *checks = page.tables["gate-checks"]
    assert [check[1] for check in checks] == [result["gate"] for result in gate["results"]]
    _, *fallbacks = page.tables["gate-fallbacks"]
    assert [row[:2] for row in fallbacks] == [[x["name"], x["form"]] for x in gate["fallback"]]


def test_a_batch_shows_its_jobs(source, tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    shutil.copytree(source / "source", models / "good")
    (models / "bad").mkdir()
    (models / "bad" / "model.onnx").write_bytes(b"no model")
    report = tmp_path / "batch.html"
    done = quantize("batch", models, "-o", tmp_path / "out", "--method", "rtn", "--report", report)
    assert done.returncode == 3, done.stderr
    page = Reader(report.read_text())
    assert page.sections == ["jobs"]
    _, *jobs = page.tables["jobs-table"]
    states = {row[0].split("_")[0]: row[1] for row in jobs}
    assert states == {"good": "done", "bad": "failed"}


# ---- In the browser -----------------------------------------------------------------------------

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is absent: run tools/setup.sh tests"
)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The page of the demo model."""
    folder = tmp_path_factory.mktemp("demo")
    report = folder / "report.html"
    quantized(DEMO, folder / "out", "--method", "awq", "--calib", DEMO / "calibration.txt",
              "--calib-samples", 16, "--report", report)  # fmt: skip
    return report, metadata(folder / "out")


@pytest.fixture(scope="module")
def pages():
    with chromium() as opened:
        yield opened
        assert opened.problems == []


def column(page, table, title):
    heads = page.locator(f"#{table} thead th").all_text_contents()
    return page.locator(f"#{table} tbody tr td:nth-child({heads.index(title) + 1})").all_text_contents()


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_it_fits_and_follows_the_colours_of_the_system(demo, pages, width, scheme):
    page = pages.open(demo[0], width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("section h2").count() >= 5
    lightness = page.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3)"
        ".reduce((sum, x) => sum + Number(x), 0) / 765"
    )
    assert lightness > 0.8 if scheme == "light" else lightness < 0.2
    for mark in page.locator("figure svg").all():
        box = mark.bounding_box()
        assert box["width"] > 250 and box["x"] + box["width"] <= width
    page.close()


@needs_chromium
@pytest.mark.slow
def test_the_button_changes_the_colours(demo, pages):
    page = pages.open(demo[0])
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    button = page.get_by_role("button", name="Use dark colours")
    button.focus()
    page.keyboard.press("Enter")
    dark = page.evaluate(colour)
    assert dark != light
    page.get_by_role("button", name="Use light colours").click()
    assert page.evaluate(colour) == light
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(colour) == "rgb(255, 255, 255)"
    page.close()


@needs_chromium
@pytest.mark.slow
def test_tables_are_sorted_by_mouse_and_keyboard(demo, pages):
    page = pages.open(demo[0])
    names = [x["name"] for x in demo[1]["linears"]]
    assert column(page, "tensors-table", "Name")[: len(names)] == names
    head = page.locator("#tensors-table th", has_text="Error")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    losses = {x["name"]: x["quantized"]["relative_loss"] for x in demo[1]["linears"] if x["quantized"]}
    worst = sorted(losses, key=losses.get, reverse=True)
    assert column(page, "tensors-table", "Name")[: len(worst)] == worst
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(page, "tensors-table", "Name")[: len(worst)] == worst[::-1]
    page.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "none"
    assert column(page, "tensors-table", "Name")[: len(names)] == names
    page.locator("#tensors-table th", has_text="Kind").get_by_role("button").press("Enter")
    kinds = column(page, "tensors-table", "Kind")
    assert kinds == sorted(kinds) and head.get_attribute("aria-sort") == "none"
    page.close()


@needs_chromium
@pytest.mark.slow
def test_tables_are_filtered(demo, pages):
    page = pages.open(demo[0])
    frame = page.locator("[data-table]", has=page.locator("#tensors-table"))
    frame.get_by_label("Filter").fill("LAYERS.2 proj")
    found = column(page, "tensors-table", "Name")
    assert found == [x["name"] for x in demo[1]["linears"] if "layers.2." in x["name"]]
    assert frame.get_by_role("status").text_content().startswith(f"{len(found)} of ")
    frame.get_by_label("Kind").select_option("mlp.up_proj")
    assert column(page, "tensors-table", "Name") == ["model.layers.2.mlp.up_proj"]
    frame.get_by_label("Filter").fill("no such name")
    assert "Nothing matches" in page.locator("#tensors-table tbody").text_content()
    page.close()


@needs_chromium
@pytest.mark.slow
def test_the_keyboard_reaches_everything_and_shows_where_it_is(demo, pages):
    page = pages.open(demo[0])
    wanted = page.evaluate(
        "[...document.querySelectorAll('a, button, input, select, [tabindex]')]"
        ".filter(x => x.checkVisibility()).length"
    )
    reached = set()
    for _ in range(wanted):
        page.keyboard.press("Tab")
        where, outline = page.evaluate(
            "[[...document.querySelectorAll('*')].indexOf(document.activeElement),"
            " getComputedStyle(document.activeElement).outlineStyle]"
        )
        assert outline != "none"
        reached.add(where)
    assert len(reached) == wanted
    page.close()


@needs_chromium
@pytest.mark.slow
def test_screen_readers_have_names_for_everything(demo, pages):
    page = pages.open(demo[0])
    unnamed = page.evaluate(
        """[...document.querySelectorAll('svg')].filter(svg => svg.getAttribute('role') !== 'img' ||
             !(svg.getAttribute('aria-label') || svg.querySelector('title')?.textContent)).length
         + [...document.querySelectorAll('figure svg')].filter(svg => !svg.querySelector('desc')?.textContent).length
         + [...document.querySelectorAll('table')].filter(t => !t.caption?.textContent).length
         + [...document.querySelectorAll('input, select')].filter(i => !i.labels.length).length
         + [...document.querySelectorAll('th')].filter(h => h.scope !== 'col' || !h.textContent).length"""
    )
    assert unnamed == 0
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(x => x.id)")
    assert len(ids) == len(set(ids))
    assert page.locator("html").get_attribute("lang") == "en"
    for link in page.locator("nav a").all():
        assert link.get_attribute("href")[1:] in ids
    page.close()


@needs_chromium
@pytest.mark.slow
def test_without_javascript_all_is_there(demo, pages):
    page = pages.open(demo[0], javascript=False)
    rows = page.locator("#tensors-table tbody tr")
    assert rows.count() >= len(demo[1]["linears"])
    assert all(row.is_visible() for row in rows.all())
    assert page.locator("button:visible").count() == 0
    page.close()


@needs_chromium
@pytest.mark.slow
@pytest.mark.skipif(
    "MINILM_DIR" not in os.environ,
    reason="MINILM_DIR, what shared/tools/export_minilm.py has written, is not set",
)
def test_the_page_of_a_real_encoder(tmp_path, pages):
    source = pathlib.Path(os.environ["MINILM_DIR"])
    report = tmp_path / "minilm.html"
    quantized(source, tmp_path / "out", "--calib-samples", 16, "--report", report, threads=2)
    linears = metadata(tmp_path / "out")["linears"]
    for width in (400, 1400):
        for scheme in ("light", "dark"):
            page = pages.open(report, width, scheme)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.locator("#depth figure").count() == 6  # kinds of linears in a layer
            assert page.locator("#sites svg").count() >= 24
            names = column(page, "tensors-table", "Name")
            assert names[: len(linears)] == [linear["name"] for linear in linears]
            page.close()
