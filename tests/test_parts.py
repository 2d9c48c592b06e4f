import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from geosr.errors import Cancelled, OutputError
from geosr.files import check_output, output_folder, write_file
from geosr.parts import Parts, leftovers

JOB = {"input": "a.tif", "scale": 2}


def test_finished_parts_are_there_when_the_job_is_taken_up_again(tmp_path):
    output = tmp_path / "out.tif"
    with pytest.raises(RuntimeError), Parts(output, JOB) as parts:
        parts.save(3, b"three")
        raise RuntimeError
    with Parts(output, JOB) as parts:
        assert parts.has(3)
        assert not parts.has(2)
        assert parts.path(3).read_bytes() == b"three"


def test_parts_of_another_job_are_refused_with_the_difference(tmp_path):
    output = tmp_path / "out.tif"
    with Parts(output, JOB) as parts:
        parts.save(0, b"old")
    with pytest.raises(OutputError, match=r"scale was 2, is now 4; discard them with --restart"):
        Parts(output, JOB | {"scale": 4}).__enter__()
    with Parts(output, JOB | {"scale": 4}, restart=True) as parts:
        assert not parts.has(0)


def test_publishing_leaves_the_output_and_nothing_else(tmp_path):
    output = tmp_path / "out.tif"
    with Parts(output, JOB) as parts:
        parts.save(0, b"part")
        parts.draft.write_bytes(b"whole")
        parts.draft.with_name("out.tif.aux.xml").write_bytes(b"beside")
        assert not output.exists()
        parts.publish()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.tif", "out.tif.aux.xml"]
    assert output.read_bytes() == b"whole"


def test_half_written_files_of_a_killed_job_are_not_parts(tmp_path):
    output = tmp_path / "out.tif"
    with Parts(output, JOB) as parts:
        (parts.folder / "00000001.tmp").write_bytes(b"hal")
        parts.draft.write_bytes(b"ha")
    with Parts(output, JOB) as parts:
        assert not parts.has(1)
        assert not list(parts.folder.glob("*.tmp"))
        assert not parts.draft.exists()


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path):
    output = tmp_path / "out.tif"
    code = (
        "import sys, time; from pathlib import Path; from geosr.parts import Parts\n"
        f"with Parts(Path({os.fspath(output)!r}), {JOB!r}): print('held', flush=True); time.sleep(60)"
    )
    first = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert first.stdout.readline().strip() == b"held"
        with pytest.raises(OutputError, match="is being made by another process"):
            Parts(output, JOB).__enter__()
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    time.sleep(0.1)
    with Parts(output, JOB) as parts:
        assert not parts.has(0)


def test_a_manifest_that_power_cut_short_is_no_manifest(tmp_path):
    output = tmp_path / "out.tif"
    with Parts(output, JOB) as parts:
        parts.save(0, b"old")
        (parts.folder / "manifest.json").write_text("")
    with Parts(output, JOB) as parts:
        assert not parts.has(0)


def test_a_folder_that_cannot_be_written_is_said_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write to"):
        Parts(tmp_path / "file" / "out.tif", JOB).__enter__()


def folder(path, text):
    (path / "deep").mkdir(parents=True)
    (path / "deep" / "file").write_text(text)
    return path


def test_an_output_that_is_a_folder_takes_the_place_of_an_older_one_as_a_whole(tmp_path):
    output = folder(tmp_path / "set", "old")
    (output / "more").write_text("old")
    with Parts(output, JOB) as parts:
        parts.save(0, b"part")
        folder(parts.draft, "new")
        parts.publish()
    assert [path.relative_to(output).as_posix() for path in sorted(output.rglob("*"))] == ["deep", "deep/file"]
    assert (output / "deep" / "file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_folder_that_cannot_take_its_place_leaves_the_older_one(tmp_path, monkeypatch):
    output = folder(tmp_path / "set", "old")
    real = Path.replace

    def fail(self, target):
        if self.parent.name == "draft":
            raise OSError(28, "No space left on device")
        return real(self, target)

    with Parts(output, JOB) as parts:
        parts.save(0, b"part")
        folder(parts.draft, "new")
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", fail)
            with pytest.raises(OutputError, match="no space left"):
                parts.publish()
    assert (output / "deep" / "file").read_text() == "old"


def interrupted_rename(monkeypatch, end):
    """Let the last rename of a publication end so."""
    real = Path.replace

    def replace(self, target):
        if self.name == self.parent.parent.name.removeprefix(".").removesuffix(".geosr"):
            raise end
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)


def older_output(folder):
    """An output with files beside it, and the files of the folder with their content."""
    for name in ("out.tif", "out.tif.aux.xml", "out.tfw"):
        (folder / name).write_text(f"old {name}")
    return folder / "out.tif", {path.name: path.read_text() for path in folder.iterdir()}


@pytest.mark.parametrize("end", [OSError(28, "full"), KeyboardInterrupt(), Cancelled()])
def test_a_publication_that_fails_leaves_the_older_output_and_its_files(tmp_path, monkeypatch, end):
    output, before = older_output(tmp_path)
    with pytest.raises((OutputError, KeyboardInterrupt)), Parts(output, JOB) as parts, monkeypatch.context() as patch:
        parts.draft.write_text("new")
        for name in ("out.tif.aux.xml", "out.tif.msk"):
            parts.draft.with_name(name).write_text("new")
        interrupted_rename(patch, end)
        parts.publish(stale=[tmp_path / "out.tfw"])
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


def test_after_a_kill_while_files_take_their_places_the_older_output_comes_back(tmp_path):
    output, before = older_output(tmp_path)
    code = f"""
import os
from pathlib import Path
from geosr.parts import Parts
real = Path.replace
def replace(self, target):
    if self.name == "out.tif":
        os._exit(9)
    return real(self, target)
parts = Parts(Path({os.fspath(output)!r}), {JOB!r}).__enter__()
parts.draft.write_text("new")
for name in ("out.tif.aux.xml", "out.tif.msk"):
    parts.draft.with_name(name).write_text("new")
Path.replace = replace
parts.publish(stale=[Path({os.fspath(tmp_path / "out.tfw")!r})])
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    assert (tmp_path / "out.tif.msk").exists()
    with Parts(output, JOB):
        pass
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


def test_a_folder_of_parts_that_cannot_be_removed_does_not_spoil_the_output(tmp_path, monkeypatch):
    with Parts(tmp_path / "out.tif", JOB) as parts, monkeypatch.context() as patch:
        parts.draft.write_text("new")
        patch.setattr(os, "rmdir", lambda *args, **kwargs: (_ for _ in ()).throw(OSError(39, "not empty")))
        parts.publish()
    assert (tmp_path / "out.tif").read_text() == "new"


def test_an_older_folder_is_there_again_after_any_end_between_two_renames(tmp_path, monkeypatch):
    output = folder(tmp_path / "set", "old")
    for end in (KeyboardInterrupt, Cancelled, OutputError):
        with pytest.raises(end), Parts(output, JOB) as parts, monkeypatch.context() as patch:
            folder(parts.draft, "new")
            interrupted_rename(patch, end())
            parts.publish()
        assert (output / "deep" / "file").read_text() == "old"


def test_parts_of_which_nothing_can_be_made_are_discarded(tmp_path):
    with Parts(tmp_path / "set", JOB) as parts:
        parts.save(0, b"part")
        parts.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_made_for_nothing_goes_again(tmp_path):
    with output_folder(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    assert list(tmp_path.iterdir()) == []
    with output_folder(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "file").write_text("")
    assert (tmp_path / "a" / "b" / "file").exists()
    with pytest.raises(OutputError, match="cannot write to"), output_folder(tmp_path / "a" / "b" / "file"):
        pass


def test_a_job_that_is_cancelled_leaves_no_parts_other_than_one_that_is_interrupted(tmp_path):
    output = tmp_path / "out.tif"
    for end, left in ((KeyboardInterrupt, True), (Cancelled, False)):
        with pytest.raises(end), Parts(output, JOB) as parts:
            parts.save(0, b"one")
            raise end
        assert [path.exists() for path in leftovers(output)] == [left, left]


def test_an_output_is_refused_that_is_an_input_or_cannot_be_written(tmp_path):
    scene = tmp_path / "scene.tif"
    scene.write_bytes(b"pixels")
    (tmp_path / "link.tif").symlink_to(scene)
    for path, overwrite, said in (
        (scene, True, "is an input"),
        (tmp_path / "link.tif", True, "is an input"),
        (tmp_path, True, "is a folder"),
        (tmp_path / "no" / "out.csv", False, "there is no folder"),
    ):
        with pytest.raises(OutputError, match=said):
            check_output(path, [None, scene], overwrite=overwrite)
    with pytest.raises(OutputError, match="exists; choose another output or --overwrite"):
        check_output(scene, [], overwrite=False)
    check_output(scene, [], overwrite=True)
    with pytest.raises(OutputError, match="is an input, or a part of one"):
        check_output(scene, [f"/vsizip/{scene.resolve()}/a.tif"], overwrite=True)


def planted(folder, victims):
    """Links and a pipe where a job keeps its own files, each with what they lead to."""
    journal = folder / ".out.tif.geosr"
    journal.mkdir()
    yield journal / "draft", victims
    yield journal / "older", victims
    yield journal / "manifest.json", victims / "file"
    yield journal / "journal.jsonl", victims / "file"
    yield folder / ".out.tif.lock", victims / "file"
    journal.rmdir()
    yield journal, victims


def test_links_in_the_place_of_the_jobs_files_are_refused_and_not_followed(tmp_path):
    victims, where = tmp_path / "victims", tmp_path / "where"
    victims.mkdir()
    where.mkdir()
    (victims / "file").write_text("mine")
    for path, target in planted(where, victims):
        path.symlink_to(target)
        for restart in (False, True):
            with pytest.raises(OutputError, match="that geosr created; remove it"):
                Parts(where / "out.tif", JOB, restart=restart).__enter__()
        assert path.is_symlink()
        path.unlink()
        assert [file.read_text() for file in victims.iterdir()] == ["mine"]


def test_a_pipe_in_the_place_of_the_lock_is_refused(tmp_path):
    os.mkfifo(tmp_path / ".out.tif.lock")
    with pytest.raises(OutputError, match=r"\.lock' is no file that geosr created"):
        Parts(tmp_path / "out.tif", JOB).__enter__()


def test_a_folder_of_parts_of_another_user_is_refused(tmp_path):
    if os.geteuid():
        pytest.skip("only root can give files away: sudo make test")
    folder = tmp_path / ".out.tif.geosr"
    folder.mkdir()
    (folder / "file").write_text("theirs")
    os.chown(folder, 65534, 65534)
    with pytest.raises(OutputError, match="belongs to another user"):
        Parts(tmp_path / "out.tif", JOB).__enter__()
    assert (folder / "file").read_text() == "theirs"


def test_a_file_is_written_under_its_name_and_no_planted_one(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for name in (".out.json.tmp", "out.json"):
        (tmp_path / name).symlink_to(victim)
    write_file(tmp_path / "out.json", b"new")
    assert victim.read_text() == "mine"
    assert (tmp_path / "out.json").read_bytes() == b"new"
    assert not (tmp_path / "out.json").is_symlink()
    assert (tmp_path / "out.json").stat().st_mode & 0o777 == 0o666 & ~umask()


def umask():
    value = os.umask(0)
    os.umask(value)
    return value


@pytest.mark.parametrize(
    "text", ["", "[", '[""]', '[".."]', '["a/b"]', "[1]", "[null]", '{"a": 1}', "7", "[" * 100_000, "[[]]", "\\ud800"]
)
def test_a_publication_that_is_damaged_is_said_in_one_line(tmp_path, text):
    output = tmp_path / "out.tif"
    with Parts(output, {}) as parts:
        parts.save(0, b"part")
        folder = parts.folder
    parts.draft.write_bytes(b"draft")
    (folder / "publication.json").write_text(text)
    if text == '{"a": 1}':
        (folder / "publication.json").write_bytes(b"\xff\xfe")
    with pytest.raises(OutputError, match=r"publication.json' is damaged: .*; keep what you need of its folder"):
        Parts(output, {}).settle()
    assert parts.draft.exists()


@pytest.mark.parametrize(
    "line", ["[1e999, 4, 5]", '["0", 4, "a"]', "[0, 4]", "7", "null", "[" * 100_000, '[true, 4, "a"]', '[0, "4", 5]']
)
def test_lines_of_a_journal_that_are_damaged_say_nothing(tmp_path, line):
    output = tmp_path / "out.tif"
    with Parts(output, {}) as parts:
        parts.save(3, b"part")
    with (parts.folder / "journal.jsonl").open("a") as file:
        file.write(f"{line}\n")
    with Parts(output, {}) as parts:
        assert [parts.has(index) for index in range(5)] == [False, False, False, True, False]


KILLED = """
import os, sys
from pathlib import Path
from geosr.parts import Parts
calls = 0
def killed(real, when):
    def call(*args, **kwargs):
        global calls
        calls += 1
        if calls == int(sys.argv[3]) and when == "before":
            os._exit(9)
        result = real(*args, **kwargs)
        if calls == int(sys.argv[3]):
            os._exit(9)
        return result
    return call
output = Path(sys.argv[1])
parts = Parts(output, {"input": "a.tif"}).__enter__()
parts.save(0, b"part")
for name in ("out.tif", "out.tif.aux.xml", "out.hdr"):
    parts.draft.with_name(name).write_text(f"new {name}")
for name in ("replace", "rename", "link", "unlink", "remove", "rmdir", "mkdir", "open", "fsync", "close"):
    setattr(os, name, killed(getattr(os, name), sys.argv[2]))
parts.publish(stale=[output.with_name("out.tfw")])
parts.__exit__(None)
"""


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_output_is_old_or_new_with_all_its_files_after_a_kill_at_any_call(tmp_path, when):
    new = {"out.tif": "new out.tif", "out.tif.aux.xml": "new out.tif.aux.xml", "out.hdr": "new out.hdr"}
    states = []
    for call in range(1, 200):
        where = tmp_path / str(call)
        where.mkdir()
        output, before = older_output(where)
        command = [sys.executable, "-c", KILLED, os.fspath(output), when, str(call)]
        ended = subprocess.run(command).returncode
        with Parts(output, {"input": "a.tif"}, restart=True):
            pass
        after = {path.name: path.read_text() for path in where.iterdir()}
        assert after in (before, new), call
        states.append(after == new)
        if ended == 0:
            break
        assert ended == 9
    assert ended == 0
    assert states == sorted(states)
    assert not states[0]
    assert call > 15
