"""What files are told by: their bytes, the folders that matter, and the file system that they lie on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from layerzero.runtime.files import contents, folders, network_file_system

MOUNTS = """\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
36 21 0:33 / /mnt/models rw shared:2 - nfs4 server:/models rw
37 21 0:34 / /mnt/models/local rw - xfs /dev/sdb1 rw
38 21 0:35 / /mnt/two\\040words rw - fuse.sshfs host:/ rw
39 21 0:36 / /mnt/pods rw master:3 propagate_from:1 - virtiofs pods rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/etc/p.lzp", None),
        ("/mnt/models/p.lzp", "nfs4"),
        ("/mnt/models", "nfs4"),
        ("/mnt/models/local/p.lzp", None),
        ("/mnt/modelsand/p.lzp", None),
        ("/mnt/two words/p.lzp", "fuse.sshfs"),
        ("/mnt/pods/p.lzp", "virtiofs"),
    ],
)
def test_the_innermost_mount_says_the_file_system(tmp_path: Path, path: str, kind: str | None) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTS, encoding="utf-8")
    assert network_file_system(path, str(table)) == kind
    assert network_file_system(path, str(tmp_path / "none")) is None


def test_every_link_on_the_way_has_a_folder_that_matters(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "links").mkdir()
    (tmp_path / "real" / "p.lzp").write_text("", encoding="utf-8")
    (tmp_path / "..data").symlink_to("real")
    (tmp_path / "links" / "p.lzp").symlink_to("../..data/p.lzp")
    wanted = {str(tmp_path / "links"), str(tmp_path), str(tmp_path / "real")}
    assert wanted <= folders(str(tmp_path / "links" / "p.lzp"))
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert str(tmp_path) in folders(str(tmp_path / "a" / "p.lzp")), "links in a circle end"


def test_what_cannot_be_read_is_content_too(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("x", encoding="utf-8")
    found = contents([str(tmp_path / name) for name in ("pipe", "none", "file")] + [str(tmp_path), "nul\0"])
    pipe, none, file, folder, nul = found.values()
    assert (pipe, none, folder) == ("no file", None, "no file") and len(file or "") == 64
    assert nul is not None and nul.startswith("unreadable")
