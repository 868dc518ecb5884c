"""The file of measurements: several writers, crashes, other machines, what is forgotten."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys

import pytest

from layerzero.errors import LayerZeroError
from layerzero.perf.database import Database, Key, MachineInfo
from layerzero.perf.measure import Failed, Timing

HERE = MachineInfo({"device": "cpu"}, {"torch": "2.13.0"})
KEY = Key("op", {"n": 4, "fused": True})
TIME = Timing(5.0, 0.5, 5.0, 4.0, 7)


def test_what_is_put_is_found_whatever_the_order_of_the_fields(tmp_path):
    with Database(tmp_path / "m.sqlite", HERE) as database:
        database.put(KEY, "a.op", TIME)
        database.put(KEY, "b.op", Failed("RuntimeError: no"))
        database.put(KEY, "a.op", TIME)
        assert database.find(Key("op", {"fused": True, "n": 4})) == {"a.op": TIME, "b.op": Failed("RuntimeError: no")}
        assert database.find(Key("op", {"n": 5})) == {}


def test_another_version_is_another_machine(tmp_path):
    with Database(tmp_path / "m.sqlite", HERE) as database:
        database.put(KEY, "a.op", TIME)
    with Database(tmp_path / "m.sqlite", MachineInfo({"device": "cpu"}, {"torch": "2.14.0"})) as database:
        assert database.find(KEY) == {}


WRITER = """
import sys
from layerzero.perf.database import Database, Key, MachineInfo
from layerzero.perf.measure import Timing
with Database(sys.argv[1], MachineInfo({"device": "cpu"}, {"torch": "2.13.0"})) as database:
    for n in range(100):
        database.put(Key("op", {"n": n}), f"writer.{sys.argv[2]}", Timing(1.0 + n, 0.0, 1.0, 1.0, 7))
"""


def test_processes_that_write_at_once_lose_nothing(tmp_path):
    path = tmp_path / "m.sqlite"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(number)]) for number in range(4)]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    with Database(path, HERE) as database:
        for n in range(100):
            found = database.find(Key("op", {"n": n}))
            assert found == {f"writer.{number}": Timing(1.0 + n, 0.0, 1.0, 1.0, 7) for number in range(4)}


DIES = """
import os, sys
from layerzero.perf.database import Database, Key, MachineInfo
database = Database(sys.argv[1], MachineInfo({"device": "cpu"}, {"torch": "2.13.0"}))
database.start(Key("op", {"n": 4, "fused": True}), "a.op")
os.abort()
"""


def test_a_kernel_that_ended_its_process_is_known_as_failed(tmp_path):
    path = tmp_path / "m.sqlite"
    subprocess.run([sys.executable, "-c", DIES, str(path)], check=False, capture_output=True)
    with Database(path, HERE) as database:
        assert database.find(KEY) == {"a.op": Failed("the process that called it ended")}
        database.start(KEY, "b.op")
        assert "b.op" not in database.find(KEY), "this process is still at it"
        database.forget(KEY, "b.op")
        assert set(database.find(KEY)) == {"a.op"}


def test_the_oldest_go_and_machines_that_have_nothing_left(tmp_path):
    path = tmp_path / "m.sqlite"
    with Database(path, MachineInfo({"device": "cpu"}, {"torch": "2.10.0"})) as database:
        database.put(Key("op", {"n": 0}), "a.op", TIME)
    with Database(path, HERE) as database:
        for n in range(1, 6):
            database.put(Key("op", {"n": n}), "a.op", TIME)
        assert database.prune(max_rows=3) == 3
        assert [bool(database.find(Key("op", {"n": n}))) for n in range(1, 6)] == [False, False, True, True, True]
        assert database.prune(older_than="2999-01-01") == 3
    rows = sqlite3.connect(path).execute("select versions from machine").fetchall()
    assert rows == [('{"torch": "2.13.0"}',)]


def test_a_file_that_is_no_database_or_a_newer_one_is_an_error(tmp_path):
    (tmp_path / "text").write_text("not a database, " * 100)
    with pytest.raises(LayerZeroError, match="no database of measurements"):
        Database(tmp_path / "text", HERE)
    newer = sqlite3.connect(tmp_path / "newer")
    newer.execute("pragma user_version = 99")
    newer.close()
    with pytest.raises(LayerZeroError, match=r"written by a newer version \(schema 99, known: 1\)"):
        Database(tmp_path / "newer", HERE)
    assert os.path.exists(tmp_path / "newer")
