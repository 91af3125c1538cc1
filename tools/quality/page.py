"""Makes docs/quality.md: the prose of page.md around tables of what was measured."""

import pathlib
import statistics
import string

import cells

TEMPLATE = pathlib.Path(__file__).with_name("page.md")
TITLES = {
    "demo": "demo",
    "tinystories": "TinyStories-656K",
    "outliers": "TinyStories-656K with outliers",
    "minilm": "all-MiniLM-L6-v2",
}
PIECES = {"stories": "stories", "wikitext": "pieces of WikiText-2"}
PHASES = ["statistics", "search", "propagate", "total"]
MISSING = "-"


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def setting(bits, group, symmetric):
    return f"W{bits} g{group} {'sym' if symmetric else 'asym'}"


def number(value):
    """A KL or a cosine, with the decimals that mean something."""
    return f"{value:.5f}" if value < 0.001 else f"{value:.4f}" if value < 1 else f"{value:.3f}"


def quality(measured):
    if measured is None:
        return MISSING
    if "cosine" in measured:
        return number(measured["cosine"])
    return (
        f"{number(measured['kl'])} / {measured['perplexity']:.2f} / {100 * measured['top1']:.1f}"
    )


def main_value(measured):
    """What is compared: KL a token, or cosine."""
    return measured["cosine"] if "cosine" in measured else measured["kl"]


def error(measured):
    """What is better when smaller, and zero at best."""
    return 1 - measured["cosine"] if "cosine" in measured else measured["kl"]


class Page:
    def __init__(self, results):
        self.results = results

    def get(self, *arguments):
        return self.results.get(cells.cell(*arguments).key)

    def value(self, *arguments):
        measured = self.get(*arguments)
        return MISSING if measured is None else number(main_value(measured))

    def main(self, model):
        tables = []
        for bits in cells.BITS:
            rows = [
                [preset, *(quality(self.get(model, bits, *grid, preset)) for grid in cells.GRIDS)]
                for preset in cells.PRESETS
            ]
            sizes = ["bits a weight"]
            for grid in cells.GRIDS:
                found = (self.get(model, bits, *grid, preset) for preset in cells.PRESETS)
                sizes.append(next((f"{m['bits']:.4g}" for m in found if m), MISSING))
            names = [setting(bits, *grid).split(" ", 1)[1] for grid in cells.GRIDS]
            tables.append(table([f"W{bits}", *names], [*rows, sizes]))
        return "\n\n".join(tables)

    def reference(self, model):
        measured = self.results.get(f"{model} float")
        return MISSING if measured is None else f"{measured['perplexity']:.3f}"

    def forward(self, model, measured):
        """Seconds of the run's forward pass; where it needed none, of the other runs' median."""
        if measured["seconds"]["forward"] > 0:
            return measured["seconds"]["forward"]
        ending = f"({cells.CALIBRATION[model]})"
        every = (m["seconds"]["forward"] for key, m in self.results.items()
                 if key.startswith(f"{model} w") and key.endswith(ending))  # fmt: skip
        return statistics.median([seconds for seconds in every if seconds > 0] or [float("nan")])

    def multiples(self, model, found, phase):
        """The median over measurements of a phase's time, as a multiple of the forward pass's."""
        ratios = [m["seconds"].get(phase, 0) / self.forward(model, m) for m in found]
        ratios = [ratio for ratio in ratios if ratio == ratio]
        return f"{statistics.median(ratios):.2f}" if ratios else MISSING

    def cost(self):
        rows = []
        settings = [(bits, *grid) for bits in cells.BITS for grid in cells.GRIDS]
        for model in ("demo", "minilm"):
            for preset in cells.PRESETS:
                found = [m for s in settings if (m := self.get(model, *s, preset))]
                times = [self.multiples(model, found, phase) for phase in PHASES]
                rows.append([TITLES[model], preset, *times])
        return table(["model", "preset", *PHASES], rows)

    def ablation(self):
        tables = []
        for model, *grid in cells.ABLATED:
            rows = []
            for methods in cells.ABLATIONS:
                first = self.get(model, *grid, methods[0])
                for method in methods:
                    name = f"**{method}**" if method == methods[0] else method
                    measured = self.get(model, *grid, method)
                    rows.append([name, *self.ablation_row(model, measured, first)])
            head = [f"{TITLES[model]}, {setting(*grid)}", "quality", "change", "search", "total"]
            tables.append(table(head, rows))
        return "\n\n".join(tables)

    def ablation_row(self, model, measured, first):
        if measured is None:
            return [MISSING] * 4
        change = MISSING if first is None else ""
        if first is not None and measured is not first:
            change = f"{100 * (error(measured) / error(first) - 1):+.1f} %"
        times = [self.multiples(model, [measured], phase) for phase in ("search", "total")]
        return [quality(measured), change, *times]

    def budget(self):
        tables = []
        for grid in cells.BUDGET_SETTINGS:
            nearest = self.value("tinystories", *grid, "rtn")
            rows = [["rtn", "none", *[nearest] * len(cells.BUDGET_SIZES)]]
            for preset in cells.BUDGET_PRESETS:
                for name, text in cells.BUDGET_TEXTS.items():
                    values = [self.value("tinystories", *grid, preset, text.format(size))
                              for size in cells.BUDGET_SIZES]  # fmt: skip
                    rows.append([preset, name, *values])
            tables.append(table([setting(*grid), "text", *map(str, cells.BUDGET_SIZES)], rows))
        return "\n\n".join(tables)

    def disjoint(self):
        rows = []
        for preset in cells.BUDGET_PRESETS:
            found = [self.get("tinystories", *cells.DISJOINT_SETTING, preset, text)
                     for text in cells.DISJOINT]  # fmt: skip
            values = [m["kl"] for m in found if m]
            if len(values) < len(found):
                rows.append([preset, *[MISSING] * 4])
                continue
            mean, deviation = statistics.mean(values), statistics.stdev(values)
            rows.append([preset, number(mean), f"{100 * deviation / mean:.1f} %",
                         number(min(values)), number(max(values))])  # fmt: skip
        return table([setting(*cells.DISJOINT_SETTING), "mean KL", "standard deviation", "least",
                      "greatest"], rows)  # fmt: skip

    def targets(self):
        rows = []
        for c, limit in cells.targets():
            name = f"{TITLES[c.model]}, {setting(c.bits, c.group, c.symmetric)}, {c.method}"
            if c.calibration != cells.CALIBRATION[c.model]:
                kind, which = c.calibration.split()
                name += f", calibrated on {which.split('+')[-1]} {PIECES[kind]}"
            least = c.model == "minilm"
            measured, met = self.results.get(c.key), MISSING
            value = MISSING if measured is None else number(main_value(measured))
            if measured is not None:
                good = main_value(measured) >= limit if least else main_value(measured) <= limit
                met = "yes" if good else "**no**"
            rows.append([name, f"{'cosine ≥' if least else 'KL ≤'} {limit:g}", value, met])
        return table(["setting", "limit", "measured", "kept"], rows)

    def peers(self):
        """Ours beside the figures that page.md gives for other tools."""
        rows = [
            [f"quantize, {preset}", *(self.value(*where, preset) for where in (
                ("tinystories", 4, 32, True), ("tinystories", 4, 32, False),
                ("outliers", 4, 32, True), ("outliers", 4, 32, False)))]
            for preset in cells.PRESETS
        ]  # fmt: skip
        return "\n".join(table([""] * 5, rows).split("\n")[2:])

    def runtime(self):
        versions = {measured["onnxruntime"] for measured in self.results.values()}
        return ", ".join(sorted(versions)) or MISSING


def page(results):
    made = Page(results)
    parts = ["cost", "ablation", "budget", "disjoint", "targets", "peers", "runtime"]
    values = {name: getattr(made, name)() for name in parts}
    for model in cells.MODELS:
        values[f"main_{model}"] = made.main(model)
        if model != "minilm":
            values[f"perplexity_{model}"] = made.reference(model)
    return string.Template(TEMPLATE.read_text(encoding="utf-8")).substitute(values)
