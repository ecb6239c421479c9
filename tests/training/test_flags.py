"""Flags are obeyed by the process they name, once; what cannot be obeyed is refused and reported."""

import json
import os
import time

import pytest

from undula.training.flags import FlagFolder

GOOD = {"pid_to_stop": os.getpid(), "timestamp": "20260101_000000", "command": "save"}


def lay(folder, content, name="save_and_stop_1.flag", age=0.0):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    os.utime(path, (time.time() - age,) * 2)
    return path


def looking(folder):
    return FlagFolder(folder, every=0)


@pytest.mark.parametrize(
    ("command", "saves", "stops"), [("save", True, False), ("stop", False, True), ("save_and_stop", True, True)]
)
def test_a_flag_is_claimed_once_and_completed(tmp_path, command, saves, stops):
    path = lay(tmp_path, {**GOOD, "command": command})
    flags = looking(tmp_path)
    found = flags.next()
    assert (found.saves, found.stops, path.exists(), found.claimed.exists()) == (saves, stops, False, True)
    assert looking(tmp_path).next() is None
    flags.complete(found, tmp_path / "x", {"step": 3})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["save_and_stop_1.flag.completed"]
    assert json.loads((tmp_path / "save_and_stop_1.flag.completed").read_text())["stats"] == {"step": 3}


def test_the_flag_of_another_process_is_left_alone(tmp_path):
    path = lay(tmp_path, {**GOOD, "pid_to_stop": os.getpid() + 1})
    assert looking(tmp_path).next() is None
    assert path.exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({**GOOD, "timestamp": "../../outside"}, "timestamp='../../outside'"),
        ({**GOOD, "timestamp": "a.b"}, "timestamp='a.b'"),
        ({**GOOD, "timestamp": 5}, "timestamp=5"),
        ({**GOOD, "command": "delete"}, "command='delete'"),
        ({**GOOD, "pid_to_stop": "all"}, "pid_to_stop='all'"),
        ({**GOOD, "pid_to_stop": True}, "pid_to_stop=True"),
        ({**GOOD, "path": "/etc"}, "wanted the keys"),
        ([1], "it holds list"),
        ("null", "it holds NoneType"),
    ],
)
def test_what_cannot_be_obeyed_is_refused_at_once(tmp_path, content, reason, caplog):
    path = lay(tmp_path, content)
    assert looking(tmp_path).next() is None
    assert not path.exists()
    assert reason in json.loads((tmp_path / f"{path.name}.refused").read_text())["reason"]
    assert reason in caplog.text


def test_a_half_written_flag_has_time_to_become_whole(tmp_path):
    path = lay(tmp_path, '{"pid_to_st')
    flags = looking(tmp_path)
    assert flags.next() is None
    assert path.exists()
    lay(tmp_path, GOOD)
    assert flags.next().command == "save"


def test_a_malformed_flag_is_refused_once_and_does_not_hide_the_next(tmp_path, caplog):
    lay(tmp_path, "{", age=10)
    lay(tmp_path, GOOD, "save_and_stop_2.flag")
    flags = looking(tmp_path)
    assert flags.next().name == "save_and_stop_2.flag"
    assert flags.next() is None
    assert caplog.text.count("is refused: it is no JSON") == 1


def test_a_link_out_of_the_folder_and_a_strange_name_are_refused(tmp_path):
    outside = tmp_path / "outside.json"
    outside.write_text(json.dumps(GOOD))
    folder = tmp_path / "flags"
    folder.mkdir()
    (folder / "save_and_stop_1.flag").symlink_to(outside)
    lay(folder, GOOD, "other name.flag")
    assert looking(folder).next() is None
    assert outside.exists()
    assert sorted(p.name for p in folder.iterdir()) == ["other_name.flag.refused", "save_and_stop_1.flag.refused"]


def test_no_folder_no_flag_and_looks_are_rare(tmp_path):
    assert looking(tmp_path / "none").next() is None
    flags = FlagFolder(tmp_path, every=100)
    flags.looked = time.monotonic()
    lay(tmp_path, GOOD)
    assert flags.next() is None
