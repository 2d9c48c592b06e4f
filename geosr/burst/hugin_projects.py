"""Hugin projects: the canvas that one makes of a burst, and the one that is kept of a burst."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from affine import Affine

from geosr.burst import alignment, framing, hugin, photos
from geosr.burst.hugin import Hugin
from geosr.burst.judging import Verdict, clipped
from geosr.burst.photos import Photo
from geosr.burst.stack import Layer
from geosr.errors import BurstError
from geosr.grid import Window
from geosr.rasters.profile import Profile
from geosr.rasters.source import RasterSource

THUMBNAIL = 800
"""Most rows and columns of the images that remapped frames are compared in."""


def laid_out(
    found: Sequence[Photo], project: Path, tools: Hugin, room: Path, *, scale: int, reference: Photo | None, match: bool
) -> tuple[Profile, list[Layer], tuple[Verdict, ...]]:
    """The canvas of a project enlarged, its images as nona puts them there, and what that means for each photo.

    They lie in `room`, whole: for this once the aligned frames are on the disk.
    """
    named = photos_of(project, found)
    reference = reference or named[0]
    rewritten = room / "enlarged.pto"
    hugin.rewritten(project, rewritten, [Path(photo.path).resolve() for photo in named], scale)
    made = tools.remapped(rewritten, room / "remapped", len(named))
    sources = {photo.path: RasterSource(path, alpha="mask") for photo, path in zip(named, made, strict=True)}
    if reference.path not in sources:
        raise BurstError(f"the project {os.fspath(project)!r} does not have the reference {reference.name!r}")
    verdicts = []
    for photo in found:
        one = Verdict(photo.name, kept=photo.path in sources, reference=photo is reference)
        if not one.kept:
            one = replace(one, reason="the project does not have it")
        elif match and not one.reference:
            gain, offset = _exposure(sources[reference.path], sources[photo.path])
            one = replace(one, gain=gain, offset=offset)
        verdicts.append(one)
    profile = replace(reference.profile, crs=None, transform=Affine.identity(), gcps=(), rpcs=None, masked=True)
    remapped = sources[reference.path].profile
    profile = replace(profile, width=remapped.width, height=remapped.height)
    kept = [(photo, one) for photo, one in zip(found, verdicts, strict=True) if one.kept]
    ends = clipped(profile.dtype, [one for _, one in kept])
    layers = [
        Layer(sources[photo.path], np.eye(3), one.gain, one.offset, *end)
        for (photo, one), end in zip(kept, ends, strict=True)
    ]
    return profile, layers, tuple(verdicts)


def shared(layers: Sequence[Layer]) -> Window:
    """The largest window that all the remapped images cover."""
    thumbnails = [layer.source.thumbnail(THUMBNAIL)[1].all(axis=0) for layer in layers]
    covered, whole = np.logical_and.reduce(thumbnails), layers[0].source.profile
    return framing.inside_mask(covered, whole.width / covered.shape[1], whole.height / covered.shape[0])


def photos_of(project: Path, found: Sequence[Photo]) -> list[Photo]:
    """The photos that the project aligns, in its order.

    Raises:
        BurstError: some are not found, or their size is another.
    """
    images = hugin.read_images(project)
    by_name = {photo.name: photo for photo in found}
    names = [Path(image.path.replace("\\", "/")).name for image in images]
    if len(names) < 2 or set(names) - set(by_name):
        missing = next(iter(set(names) - set(by_name)), "a second photo")
        raise BurstError(f"the project {os.fspath(project)!r} needs {missing!r}, which is not among the photos")
    size = photos.stored_size(found[0])
    if wrong := [image for image in images if (image.width, image.height) != size]:
        raise BurstError(
            f"the project {os.fspath(project)!r} is of images of {wrong[0].width} x {wrong[0].height}, "
            f"the photos are {size[0]} x {size[1]}; choose another"
        )
    return [by_name[name] for name in names]


def keep(found: Sequence[Photo], verdicts: Sequence[Verdict], tools: Hugin, room: Path, path: Path) -> None:
    """A project of the photos as they lie on the disk, aligned by Hugin itself with the control points that agree."""
    kept = sorted(
        ((photo, one) for photo, one in zip(found, verdicts, strict=True) if one.kept),
        key=lambda pair: not pair[1].reference,
    )
    turned = [
        tuple(photos.stored_points(points, photo) for points in np.hsplit(np.array(one.control), 2))
        for photo, one in kept[1:]
    ]
    first, size = kept[0][0], photos.stored_size(kept[0][0])
    draft = room / path.name
    hugin.write_project(
        draft,
        [os.fspath(Path(photo.path).resolve()) for photo, _ in kept],
        size,
        [(here, there) for here, there in turned],
        view=hugin.field_of_view(first.metadata.focal_35mm, *size),
        roll=photos.ROLLS[first.metadata.orientation],
    )
    tools.optimised(draft)
    shutil.copyfile(draft, path)


def _exposure(reference: RasterSource, frame: RasterSource) -> tuple[float, float]:
    """Gain and offset of a remapped image, from thumbnails of both."""
    (here, known), (there, seen) = reference.thumbnail(THUMBNAIL), frame.thumbnail(THUMBNAIL)
    colours = reference.profile.colours
    low, high = photos.limits(reference.profile.dtype)
    both = (known & seen)[colours].all(axis=0)
    for block in (here[colours], there[colours]):
        both &= ((block > low) & (block < high)).all(axis=0)
    if both.sum() < alignment.LEAST_MATCHED:
        return 1.0, 0.0
    gray, other = (block[colours].mean(axis=0, dtype=np.float32)[both] for block in (here, there))
    return alignment.match(other, gray)
