"""Hugin projects: the canvas that judgement makes of a burst, and the judgement that is kept of a burst."""

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
from geosr.burst.judging import Judgement, clipped
from geosr.burst.photos import Photo
from geosr.burst.stacking import Layer
from geosr.errors import BurstError
from geosr.grid import Window
from geosr.rasters.profile import Profile
from geosr.rasters.source import RasterSource

THUMBNAIL = 800
"""Most rows and columns of the images that remapped frames are compared in."""


def layers_of_project(
    burst: Sequence[Photo],
    project: Path,
    tools: Hugin,
    scratch: Path,
    *,
    scale: int,
    reference: Photo | None,
    match: bool,
) -> tuple[Profile, list[Layer], tuple[Judgement, ...]]:
    """Return the canvas of a project enlarged, its images as nona puts them there, and the judgement of each photo.

    They lie in `scratch`, whole: for this once the aligned frames are on the disk.
    """
    named = photos_of(project, burst)
    reference = reference or named[0]
    rewritten = scratch / "enlarged.pto"
    hugin.rewritten(project, rewritten, [Path(photo.path).resolve() for photo in named], scale)
    remapped = tools.remapped(rewritten, scratch / "remapped", len(named))
    sources = {photo.path: RasterSource(path, alpha="mask") for photo, path in zip(named, remapped, strict=True)}
    if reference.path not in sources:
        raise BurstError(f"the project {os.fspath(project)!r} does not have the reference {reference.name!r}")
    judgements = []
    for photo in burst:
        judgement = Judgement(
            photo.name,
            kept=photo.path in sources,
            reference=photo is reference,
            sharpness=np.nan,
            rms=np.nan,
            correlation=np.nan,
            motion=np.nan,
            still=np.nan,
        )
        if not judgement.kept:
            judgement = replace(judgement, reason="the project does not have it")
        elif match and not judgement.reference:
            gain, offset = _exposure(sources[reference.path], sources[photo.path])
            judgement = replace(judgement, gain=gain, offset=offset)
        judgements.append(judgement)
    profile = replace(reference.profile, crs=None, transform=Affine.identity(), gcps=(), rpcs=None, masked=True)
    canvas = sources[reference.path].profile
    profile = replace(profile, width=canvas.width, height=canvas.height)
    used = [(photo, judgement) for photo, judgement in zip(burst, judgements, strict=True) if judgement.kept]
    ends = clipped(profile.dtype, [judgement for _, judgement in used])
    layers = [
        Layer(sources[photo.path], np.eye(3), judgement.gain, judgement.offset, *end)
        for (photo, judgement), end in zip(used, ends, strict=True)
    ]
    return profile, layers, tuple(judgements)


def shared_window(layers: Sequence[Layer]) -> Window:
    """Return the largest window that all the remapped images cover."""
    thumbnails = [layer.source.thumbnail(THUMBNAIL)[1].all(axis=0) for layer in layers]
    covered, whole = np.logical_and.reduce(thumbnails), layers[0].source.profile
    return framing.inside_mask(covered, whole.width / covered.shape[1], whole.height / covered.shape[0])


def photos_of(project: Path, burst: Sequence[Photo]) -> list[Photo]:
    """Return the photos that the project aligns, in its order.

    Raises:
        BurstError: some are not found, or their size is another.
    """
    images = hugin.read_images(project)
    by_name = {photo.name: photo for photo in burst}
    names = [Path(image.path.replace("\\", "/")).name for image in images]
    if len(names) < 2 or set(names) - set(by_name):
        missing = next(iter(set(names) - set(by_name)), "a second photo")
        raise BurstError(f"the project {os.fspath(project)!r} needs {missing!r}, which is not among the photos")
    size = photos.stored_size(burst[0])
    if wrong := [image for image in images if (image.width, image.height) != size]:
        raise BurstError(
            f"the project {os.fspath(project)!r} is of images of {wrong[0].width} x {wrong[0].height}, "
            f"the photos are {size[0]} x {size[1]}; choose another"
        )
    return [by_name[name] for name in names]


def keep(burst: Sequence[Photo], judgements: Sequence[Judgement], tools: Hugin, scratch: Path, path: Path) -> None:
    """Write a project of the photos on the disk, aligned by Hugin itself with the control points that agree."""
    used = sorted(
        ((photo, judgement) for photo, judgement in zip(burst, judgements, strict=True) if judgement.kept),
        key=lambda pair: not pair[1].reference,
    )
    turned = [
        tuple(photos.stored_points(points, photo) for points in np.hsplit(np.array(judgement.control), 2))
        for photo, judgement in used[1:]
    ]
    first, size = used[0][0], photos.stored_size(used[0][0])
    draft = scratch / path.name
    hugin.write_project(
        draft,
        [os.fspath(Path(photo.path).resolve()) for photo, _ in used],
        size,
        [(here, there) for here, there in turned],
        view=hugin.field_of_view(first.metadata.focal_35mm, *size),
        roll=photos.ROLLS[first.metadata.orientation],
    )
    tools.optimised(draft)
    shutil.copyfile(draft, path)


def _exposure(reference: RasterSource, frame: RasterSource) -> tuple[alignment.Gains, alignment.Gains]:
    """Return gain and offset of each band of a remapped image, from thumbnails of both."""
    (here, known), (there, valid) = reference.thumbnail(THUMBNAIL), frame.thumbnail(THUMBNAIL)
    colours = reference.profile.colours
    low, high = photos.limits(reference.profile.dtype)
    both = np.asarray((known & valid)[colours].all(axis=0))
    fixed, moving = (block[colours].astype(np.float32) for block in (here, there))
    for block in (fixed, moving):
        both &= ((block > low) & (block < high)).all(axis=0)
    return alignment.matched(moving, fixed, both)
