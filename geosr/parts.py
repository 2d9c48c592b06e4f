"""The journal of a job: a folder beside the output with a manifest, a lock, and one file for each finished part.

A part gets its name when it is whole, so a job that was killed can be taken up where it stopped. Size and checksum of
each are written down before, so that a part which was changed is made again. Knows names and bytes, no rasters.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from geosr.errors import Cancelled, OutputBusyError, OutputError
from geosr.files import NO_LINK, check_own, json_text, json_value, sync_folder, write_error, write_file

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
JOURNAL = "journal.jsonl"
"""A line for each part that is about to be saved: its index, size and SHA-256."""
PUBLICATION = "publication.json"
"""The names of the new files beside the output, there while they take their places."""


def leftovers(output: Path) -> tuple[Path, Path]:
    """Return what a job has beside its output until that is whole: the folder of its parts, and its lock."""
    return output.with_name(f".{output.name}.geosr"), output.with_name(f".{output.name}.lock")


class Parts:
    """The finished parts of the job that makes `output`; a context manager that holds the job's lock.

    `manifest` says what the parts depend on. Parts of a job that says otherwise are not used: `restart` discards
    them. They outlive a job that fails or is interrupted, not one that ends by Cancelled.

    Raises:
        OutputBusyError: on entering: another process makes the same output.
        OutputError: on entering: the folder cannot be written, the parts there are of another job, or links or another
            user's files stand in the place of the job's.
    """

    def __init__(self, output: Path, manifest: Mapping[str, Any], *, restart: bool = False) -> None:
        self.output = output
        folder, lock = leftovers(output)
        # GDAL takes a colon in a path that begins with it for that of a URL.
        self.folder = folder.absolute()
        self._manifest = json_value(json_text(manifest))
        self._restart = restart
        self._lock = FileLock(lock)
        self._journal: dict[int, tuple[int, str]] = {}
        self._checked: set[int] = set()

    def __enter__(self) -> Parts:
        self._acquire()
        try:
            self._open()
        except BaseException:
            self._unlock()
            raise
        return self

    def settle(self) -> None:
        """Undo a publication that was killed, so that the older output's files alone are there; the parts stay.

        Raises:
            OutputError: as on entering, but whatever job the parts are of.
        """
        if os.path.lexists(self.folder / PUBLICATION):
            self._acquire()
            try:
                self._bring_back()
            finally:
                self._lock.release()

    def _acquire(self) -> None:
        for path in (self.folder, self.draft.parent, self._older):
            check_own(path, folder=True)
        for path in (Path(self._lock.lock_file), *map(self.folder.joinpath, (MANIFEST, JOURNAL, PUBLICATION))):
            check_own(path, folder=False)
        try:
            while not _locked(self._lock):
                pass
        except Timeout as error:
            if not Path(self._lock.lock_file).exists():
                raise OutputError(f"cannot write to {os.fspath(self.output.parent)!r}") from error
            raise OutputBusyError(f"{os.fspath(self.output)!r} is being made by another process") from error
        except OSError as error:
            raise write_error(self.output.parent, error) from error

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._bring_back()
        if kind and issubclass(kind, Cancelled):
            shutil.rmtree(self.folder, ignore_errors=True)
        self._unlock()

    def has(self, index: int) -> bool:
        """Return True if this part is finished, and is what was saved; one that was changed since then is removed."""
        if index in self._checked:
            return True
        if self._content(index) is None:
            if os.path.lexists(self.path(index)):
                log.warning("%s was damaged and is made again", os.fspath(self.path(index)))
                _remove(self.path(index))
            return False
        self._checked.add(index)
        return True

    def read(self, index: int) -> bytes:
        """Return a finished part.

        Raises:
            OutputError: it is not what was saved.
        """
        content = self._content(index)
        if content is None:
            path = os.fspath(self.path(index))
            raise OutputError(f"the part {path!r} was damaged during the job; give the same command again")
        return content

    def path(self, index: int) -> Path:
        """Return the path of the part, whether it is finished or not."""
        return self.folder / f"{index:08d}.part"

    def save(self, index: int, data: bytes) -> None:
        """Keep a finished part."""
        self._journal[index] = len(data), hashlib.sha256(data).hexdigest()
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | NO_LINK
            with os.fdopen(os.open(self.folder / JOURNAL, flags, 0o600), "ab") as file:
                file.write(self._line(index))
        except OSError as error:
            raise write_error(self.output.parent, error) from error
        write_file(self.path(index), data)
        self._checked.add(index)

    @property
    def draft(self) -> Path:
        """The path at which the output is written, with its side files beside it, before `publish`."""
        return self.folder / "draft" / self.output.name

    def publish(self, stale: Sequence[Path] = ()) -> None:
        """Move the draft and the files beside it to the output's folder, the output itself last; removes the parts.

        The files `stale`, which belong to an older output, go first. If anything fails, the older output and its
        files are as they were. An output that is a folder takes the place of an older one as a whole.
        """
        beside = {path: self.output.with_name(path.name) for path in self.draft.parent.iterdir() if path != self.draft}
        replaced = {path for path in (*stale, *beside.values()) if path.exists()}
        if self.draft.is_dir() and self.output.exists():
            replaced.add(self.output)
        try:
            for path in (*beside, self.draft):
                if not path.is_dir():
                    with path.open("rb") as file:
                        os.fsync(file.fileno())
            write_file(self.folder / PUBLICATION, json_text([path.name for path in beside.values()]).encode())
            self._older.mkdir(exist_ok=True)
            sync_folder(self.folder)
            for path in replaced:
                path.replace(self._older / path.name)
            for path, target in beside.items():
                path.replace(target)
            self.draft.replace(self.output)
            sync_folder(self.output.parent)
        except OSError as error:
            self._bring_back()
            raise write_error(self.output.parent, error) from error
        shutil.rmtree(self.folder, ignore_errors=True)

    def discard(self) -> None:
        """Remove the parts, of which nothing can be made."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _older(self) -> Path:
        """The folder that holds the older output's files while the new ones take their places."""
        return self.folder / "older"

    def _content(self, index: int) -> bytes | None:
        """Return a part; None if it is not what the journal says."""
        try:
            # Without waiting for whoever writes into a pipe that has its name.
            flags = os.O_RDONLY | NO_LINK | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
            with os.fdopen(os.open(self.path(index), flags), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    return None
                content = file.read()
        except OSError:
            return None
        return content if self._journal.get(index) == (len(content), hashlib.sha256(content).hexdigest()) else None

    def _line(self, index: int) -> bytes:
        return f"{json_text([index, *self._journal[index]], indent=None)}\n".encode()

    def _bring_back(self) -> None:
        """Undo a publication that began and did not end, as the draft that is still there tells.

        It can be undone again if this is interrupted: new files go back to the draft, older ones to their places.
        """
        publication = self.folder / PUBLICATION
        if os.path.lexists(self.draft) and publication.exists():
            for name in _names(publication):
                draft, target = self.draft.with_name(name), self.output.with_name(name)
                if os.path.lexists(target) and not os.path.lexists(draft):
                    target.replace(draft)
            for path in self._older.iterdir() if self._older.exists() else ():
                path.replace(self.output.with_name(path.name))
            sync_folder(self.output.parent)
            publication.unlink()

    def _open(self) -> None:
        manifest = self.folder / MANIFEST
        self._bring_back()
        note = None if self._restart else _read(manifest)
        if note is None or not any(self.folder.glob("*.part")):
            shutil.rmtree(self.folder, ignore_errors=True)
            note = self._manifest
        for key in sorted({*note, *self._manifest}):
            before, now = note.get(key), self._manifest.get(key)
            if before != now:
                difference = "differ" if isinstance(now, list | dict) else f"was {before}, is now {now}"
                raise OutputError(
                    f"{os.fspath(self.folder)!r} holds parts of another job: {key} {difference}; "
                    "discard them with --restart"
                )
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            self.draft.parent.mkdir(exist_ok=True)
            self._journal = _entries(self.folder / JOURNAL)
            known = {manifest, self.draft.parent, *map(self.path, self._journal)}
            for leftover in [*self.draft.parent.iterdir(), *({*self.folder.iterdir()} - known)]:
                _remove(leftover)
        except OSError as error:
            raise write_error(self.output.parent, error) from error
        write_file(manifest, json_text(self._manifest).encode())
        if self._journal:
            # Without a last line that was cut short, which the next would be appended to.
            write_file(self.folder / JOURNAL, b"".join(map(self._line, self._journal)))

    def _unlock(self) -> None:
        if self.folder.is_dir() and not any(self.folder.glob("*.part")):
            shutil.rmtree(self.folder, ignore_errors=True)
        if not self.folder.exists():
            # Before it is released: a file that another process has locked is not removed.
            with suppress(OSError):
                Path(self._lock.lock_file).unlink()
        self._lock.release()


def _locked(lock: FileLock) -> bool:
    """Lock a file; return False if its name is that of another file by now, since who held it had removed it."""
    path = Path(lock.lock_file)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | NO_LINK | getattr(os, "O_CLOEXEC", 0), 0o644)
    try:
        # As long as this file is open, no other can have its number.
        before = os.fstat(descriptor).st_ino
        lock.acquire(timeout=0)
        try:
            same = path.stat().st_ino == before
        except FileNotFoundError:
            same = False
    finally:
        os.close(descriptor)
    if not same:
        lock.release()
    return same


def _read(manifest: Path) -> dict[str, Any] | None:
    """Return the content of a manifest; None if there is none, or power failed while it was written."""
    try:
        content = json_value(manifest.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _names(publication: Path) -> list[str]:
    """Return the names of files beside the output in a publication.

    Raises:
        OutputError: it is damaged.
    """
    try:
        names = json_value(publication.read_text())
        if not all(isinstance(name, str) and name and Path(name).name == name != ".." for name in names):
            raise ValueError("it holds other things than names of files")
    except (OSError, ValueError, TypeError) as error:
        raise OutputError(
            f"{os.fspath(publication)!r} is damaged: {error}; keep what you need of its folder, and remove that"
        ) from error
    result: list[str] = names
    return result


def _entries(journal: Path) -> dict[int, tuple[int, str]]:
    """Return size and checksum of each part in a journal, whose last line may be cut short."""
    entries = {}
    for line in journal.read_text(errors="replace").splitlines() if journal.exists() else ():
        with suppress(ValueError, TypeError):
            index, size, digest = json_value(line)
            if type(index) is type(size) is int and isinstance(digest, str):
                entries[index] = size, digest
    return entries


def _remove(path: Path) -> None:
    """Remove a file, a link, or a folder with what is in it."""
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
