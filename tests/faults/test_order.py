"""When the power fails, a file system may forget whatever was not synced: nothing gets its final name
before it is on the disk, and when the program ends, the names are, too."""

import pathlib

import pytest
from injection import CHANGES, calls
from jobs import JOBS


class Disk:
    """What of the files below a folder might be forgotten, by the calls that were made."""

    def __init__(self, place, known=()):
        self.place = place
        self.known = {str(path) for path in known}  # to remove what is not there changes nothing
        self.unsynced = set()  # files whose content, folders whose entries may be lost

    def is_final(self, path):
        """Whether it is no name that runs work under."""
        return not any(
            part.startswith(".") or part.endswith(".part") for part in self.below(path).parts
        )

    def below(self, path):
        return pathlib.Path(path).relative_to(self.place)

    def of(self, root):
        return {path for path in self.unsynced if path == root or path.startswith(f"{root}/")}

    def see(self, operation, path, to):
        folder = str(pathlib.Path(path).parent)
        if operation in ("write", "truncate"):
            self.unsynced.add(path)
        elif operation == "create":
            self.unsynced |= {path, folder}
            self.known.add(path)
        elif operation == "mkdir" and path not in self.known:
            self.unsynced.add(folder)
            self.known.add(path)
        elif operation == "remove" and path in self.known:
            self.known.discard(path)
            self.unsynced -= self.of(path)
            self.unsynced.add(folder)
        elif operation == "sync":
            self.unsynced.discard(path)
        elif operation == "rename":
            moved = self.of(path)
            if self.is_final(to) and not self.is_final(path):
                assert not moved, f"{to} gets its name while these may be lost: {sorted(moved)}"
            self.unsynced -= moved
            self.unsynced |= {to + name.removeprefix(path) for name in moved}
            self.unsynced |= {folder, str(pathlib.Path(to).parent)}
            inside = {name for name in self.known if name == path or name.startswith(f"{path}/")}
            self.known |= {to + name.removeprefix(path) for name in inside}


@pytest.mark.parametrize("job", JOBS)
def test_nothing_gets_its_name_before_it_is_on_the_disk(tmp_path, job):
    root = tmp_path / "work"
    arguments = JOBS[job](root)
    known = list((root / "place").rglob("*"))
    found = calls(arguments, root / "place", tmp_path / "log")
    assert any(operation == "sync" for operation, _, _ in found)
    disk = Disk(root / "place", known)
    for operation, path, to in found:
        if operation in CHANGES:
            disk.see(operation, path, to)
    # What is only tidied up may be forgotten: leftovers come back, as after a kill.
    lost = {path for path in disk.unsynced if disk.is_final(path) and pathlib.Path(path).is_file()}
    assert not lost
    assert job == "batch" or str(root / "place") not in disk.unsynced or tidied(found, root / "place")


def tidied(found, place):
    """Whether all that happened to a folder since its last sync is that something was removed."""
    behind = []
    for operation, path, to in found:
        behind.append((operation, path, to))
        if operation == "sync" and path == str(place):
            behind = []
    named = [call for call in behind if call[0] in ("create", "mkdir", "rename")]
    return not [call for call in named if str(place) in (str(pathlib.Path(p).parent) for p in call[1:])]


def test_the_model_of_a_disk_notices_what_is_not_synced(tmp_path):
    """The test above can fail."""
    disk = Disk(tmp_path)
    part, final = f"{tmp_path}/.out.part", f"{tmp_path}/out"
    disk.see("mkdir", part, "")
    disk.see("create", f"{part}/model.onnx", "")
    disk.see("write", f"{part}/model.onnx", "")
    disk.see("sync", part, "")
    with pytest.raises(AssertionError):
        disk.see("rename", part, final)
    disk.see("sync", f"{part}/model.onnx", "")
    disk.see("rename", part, final)
    assert disk.unsynced == {str(tmp_path)}
    disk.see("sync", str(tmp_path), "")
    assert not disk.unsynced
