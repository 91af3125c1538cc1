"""A source that cannot be read, at the k-th open, read or map, and a disk that gives nothing for a
page of it: status 3, nothing at the destination, and the next run is as if nothing had been."""

import pytest
from injection import calls, inject, leftovers, made_ready, plain, renew, tree
from jobs import JOBS

READS = {
    "open": ("open", "EIO"),
    "read": ("read", "EIO"),
    "map": ("map", "EIO"),
    "page": ("map", "bus"),
}
WORDS = {
    "open": "input/output error on opening",
    "read": "input/output error on reading",
    "map": "input/output error on mapping",
    "page": "a page that the disk does not give",
}
READ = ["m", "ids.npy"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A calibrated run, what it reads, and what it makes."""
    folder = tmp_path_factory.mktemp("reads")
    before, root, arguments = made_ready(folder, JOBS["run, nothing there"])
    found = calls(arguments, root, folder / "log")
    counts = {
        (kind, part): sum(call[0] == kind and call[1].startswith(f"{root}/{part}") for call in found)
        for kind in ("open", "read", "map")
        for part in READ
    }
    return before, root, arguments, counts, tree(root / "place")


@pytest.mark.parametrize("part", READ)
@pytest.mark.parametrize("kind", READS)
def test_what_cannot_be_read_is_named(prepared, kind, part, row):
    before, root, arguments, counts, complete = prepared
    operation, action = READS[kind]
    lines = []
    met, count = 0, counts[operation, part]
    for k in range(1, count + 1):
        renew(before, root)
        done = inject(arguments, fault=f"{operation}:{k}:{action}", root=root / part)
        what = f"{operation} {k} of {count}: status {done.status}: {done.stderr}"
        if done.status == 0:  # it was a question whose answer does not matter
            assert tree(root / "place") == complete, what
            continue
        met += 1
        lines.append(plain(done.line, root))
        assert done.status == 3, what
        # Of a page that is gone, the kernel tells no name.
        assert str(root / part) in done.line or action == "bus", what
        assert tree(root / "place") == {}, what
        again = inject(arguments)
        assert again.status == 0, f"{what}\nagain: {again.stderr}"
        assert tree(root / "place") == complete and not leftovers(root / "place"), what
    if lines:
        row("reads", f"{WORDS[kind]}, at each of `{part}`", "run", "3", lines[0], "nothing",
            "the same bytes")  # fmt: skip
    assert met or count == 0 or kind == "read"  # a look at the front, which the map makes good
