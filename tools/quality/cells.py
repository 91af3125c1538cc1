"""What is measured: one cell is one run of `quantize` and the quality of what it writes."""

import dataclasses

PRESETS = ["rtn", "awq", "gptq", "awq-gptq", "best"]
BITS = [2, 3, 4, 8]
GRIDS = [(32, True), (32, False), (128, True), (128, False)]  # group size, symmetric
CALIBRATION = {
    "demo": "passages",
    "tinystories": "stories 300+128",
    "outliers": "stories 300+128",
    "minilm": "sentences",
}
MODELS = list(CALIBRATION)


@dataclasses.dataclass(frozen=True)
class Cell:
    """`method` is a preset, with options that override its parts behind it."""

    model: str
    bits: int
    group: int
    symmetric: bool
    method: str
    calibration: str

    @property
    def key(self):
        grid = f"w{self.bits} g{self.group} {'sym' if self.symmetric else 'asym'}"
        return f"{self.model} {grid} {self.method} ({self.calibration})"

    def options(self):
        return [
            *("--bits", str(self.bits), "--group-size", str(self.group)),
            "--symmetric" if self.symmetric else "--asymmetric",
            *("--method", *self.method.split()),
            *("--accuracy-level", "0", "--lm-head", "keep"),
        ]


def cell(model, bits, group, symmetric, method, calibration=None):
    return Cell(model, bits, group, symmetric, method, calibration or CALIBRATION[model])


# Settings of the ablation, and its rows: the others of a list are compared with its first.
ABLATED = [
    ("tinystories", 4, 32, True),
    ("tinystories", 3, 128, True),
    ("minilm", 4, 128, True),
]
ABLATIONS = [
    [
        "best",
        "best --scaling none",
        "best --grid minmax",
        "best --rounding nearest",
        "best --refine 0",
        "best --bias-correction none",
        "best --no-propagate",
        "best --grid block",
        "best --rounding descent",
        "best --bias-correction all",
    ],
    [
        "rtn",
        "rtn --scaling awq",
        "rtn --scaling awq-duo",
        "rtn --grid clip",
        "rtn --grid search",
        "rtn --grid block",
        "rtn --rounding gptq",
        "rtn --rounding descent",
        "rtn --refine 3",
        "rtn --bias-correction present",
        "rtn --bias-correction all",
        "rtn --propagate",
    ],
]

# The calibration budget, on TinyStories.
BUDGET_SETTINGS = [(4, 32, True), (3, 128, True)]
BUDGET_PRESETS = ["awq", "gptq", "best"]
BUDGET_SIZES = [8, 32, 128, 512]
BUDGET_TEXTS = {"stories": "stories 300+{}", "wikitext": "wikitext {}"}
DISJOINT_SETTING = (4, 32, True)
DISJOINT = [f"stories {start}+128" for start in (300, 428, 556, 684)]


def sections():
    """Name to cells; a cell may be in several sections and is measured once."""
    return {
        "main": [
            cell(model, bits, *grid, preset)
            for model in MODELS
            for bits in BITS
            for grid in GRIDS
            for preset in PRESETS
        ],
        "ablation": [cell(*s, method) for s in ABLATED for rows in ABLATIONS for method in rows],
        "budget": [
            cell("tinystories", *setting, preset, text.format(size))
            for setting in BUDGET_SETTINGS
            for preset in BUDGET_PRESETS
            for text in BUDGET_TEXTS.values()
            for size in BUDGET_SIZES
        ]
        + [
            cell("tinystories", *DISJOINT_SETTING, preset, text)
            for preset in BUDGET_PRESETS
            for text in DISJOINT
        ],
    }


def targets():
    """(cell, limit): the most KL a token, or for MiniLM the least cosine."""
    three = [  # bits, group, symmetric; awq, gptq, best
        ((4, 32, True), (0.044, 0.032, 0.0225)),
        ((4, 32, False), (0.041, 0.029, 0.0205)),
        ((4, 128, True), (0.063, 0.047, 0.033)),
        ((3, 32, True), (0.190, 0.140, 0.096)),
        ((2, 32, True), (1.10, 0.80, 0.52)),
    ]
    w4 = (4, 32, True)
    return [
        (cell("tinystories", *setting, preset), limit)
        for setting, limits in three
        for preset, limit in zip(BUDGET_PRESETS, limits)
    ] + [
        (cell("tinystories", 8, 32, True, "best"), 0.0003),
        (cell("outliers", *w4, "awq"), 0.060),
        (cell("outliers", *w4, "best"), 0.030),
        (cell("tinystories", *w4, "awq", "wikitext 128"), 0.050),
        (cell("tinystories", *w4, "best", "wikitext 128"), 0.034),
        (cell("tinystories", *w4, "best", "stories 300+8"), 0.027),
        (cell("minilm", 4, 128, True, "awq"), 0.974),
        (cell("minilm", 4, 128, True, "best"), 0.990),
        (cell("minilm", *w4, "best"), 0.993),
    ]
