"""The journal of a job: a folder beside the output with a manifest, a lock, and one file for each finished part.

A part gets its name when it is whole, so a job that was killed can be taken up where it stopped. Knows names and
bytes, no rasters.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from geosr.errors import Cancelled, OutputError
from geosr.files import write_error, write_file

MANIFEST = "manifest.json"
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
        OutputError: on entering: another process makes the same output, the folder cannot be written, or the parts
            there are of another job.
    """

    def __init__(self, output: Path, manifest: Mapping[str, Any], *, restart: bool = False) -> None:
        self.output = output
        self.folder, lock = leftovers(output)
        self._manifest = json.loads(json.dumps(manifest))
        self._restart = restart
        self._lock = FileLock(lock)

    def __enter__(self) -> Parts:
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            if not Path(self._lock.lock_file).exists():
                raise OutputError(f"cannot write to {os.fspath(self.output.parent)!r}") from error
            raise OutputError(f"{os.fspath(self.output)!r} is being made by another process") from error
        except OSError as error:
            raise write_error(self.output.parent, error) from error
        try:
            self._open()
        except BaseException:
            self._unlock()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._bring_back()
        if kind and issubclass(kind, Cancelled):
            shutil.rmtree(self.folder, ignore_errors=True)
        self._unlock()

    def has(self, index: int) -> bool:
        """Return True if this part is finished."""
        return self.path(index).exists()

    def path(self, index: int) -> Path:
        """Return the path of the part, whether it is finished or not."""
        return self.folder / f"{index:08d}.part"

    def save(self, index: int, data: bytes) -> None:
        """Keep a finished part."""
        write_file(self.path(index), data)

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
            if not self.draft.is_dir():
                with self.draft.open("rb") as file:
                    os.fsync(file.fileno())
            write_file(self.folder / PUBLICATION, json.dumps([path.name for path in beside.values()]).encode())
            self._older.mkdir(exist_ok=True)
            for path in replaced:
                path.replace(self._older / path.name)
            for path, target in beside.items():
                path.replace(target)
            self.draft.replace(self.output)
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

    def _bring_back(self) -> None:
        """Undo a publication that began and did not end, as the draft that is still there tells."""
        publication = self.folder / PUBLICATION
        if self.draft.exists() and publication.exists():
            for name in json.loads(publication.read_text()):
                if (self._older / name).exists() or not (self.draft.parent / name).exists():
                    self.output.with_name(name).unlink(missing_ok=True)
            for path in self._older.iterdir() if self._older.exists() else ():
                path.replace(self.output.with_name(path.name))
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
            self.draft.parent.mkdir(parents=True, exist_ok=True)
            known = {manifest, self.draft.parent, *self.folder.glob("*.part")}
            for leftover in [*self.draft.parent.iterdir(), *({*self.folder.iterdir()} - known)]:
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        except OSError as error:
            raise write_error(self.output.parent, error) from error
        write_file(manifest, json.dumps(self._manifest, indent=1).encode())

    def _unlock(self) -> None:
        if self.folder.exists() and not any(self.folder.glob("*.part")):
            shutil.rmtree(self.folder, ignore_errors=True)
        if not self.folder.exists():
            # Before it is released: a file that another process has locked is not removed.
            with suppress(OSError):
                Path(self._lock.lock_file).unlink()
        self._lock.release()


def _read(manifest: Path) -> dict[str, Any] | None:
    """Return the content of a manifest; None if there is none, or power failed while it was written."""
    try:
        content = json.loads(manifest.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
