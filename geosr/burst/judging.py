"""What is found of each frame of a burst: whether it is sharp, how it lies on the reference, how bright it is, and why
it is left out if it is.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from geosr import engine
from geosr.burst import alignment as align
from geosr.burst import hugin, photos
from geosr.burst.homography import Matrix, apply, at_scale, enlarging, shifting
from geosr.burst.hugin import Hugin
from geosr.burst.photos import Frame
from geosr.engine import Pool, Progress
from geosr.errors import BurstError, HuginError
from geosr.rasters.profile import Profile

log = logging.getLogger(__name__)

LEAST_SHARPNESS = 0.35
"""Of the median of the burst; motion blur leaves a tenth."""
CLEARLY_SHARPER = 1.1
TYPICAL_BRIGHTNESS = 1.5
"""Most times that a reference may be brighter or darker than the median of the burst."""
CLIPPED_EARLIER = 0.02
"""Of the range, by which a frame must clip before another for its clipped pixels to have no weight."""
ALIGN_MODES = ("hugin", "none")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found of a frame."""

    name: str
    kept: bool
    reference: bool = False
    reason: str = ""
    """Why it was left out."""
    sharpness: float = 0.0
    matrix: tuple[float, ...] = (1, 0, 0, 0, 1, 0, 0, 0, 1)
    """From the reference's pixels to the frame's, by rows."""
    points: int = 0
    inliers: int = 0
    rms: float = 0.0
    correlation: float = 1.0
    motion: float = 0.0
    """Left over after alignment, in pixels of the photo."""
    still: float = 1.0
    control: tuple[tuple[float, ...], ...] = ()
    """The control points that the matrix fits: column and row in the reference, column and row in the frame."""
    gain: float = 1.0
    offset: float = 0.0

    @property
    def homography(self) -> Matrix:
        return np.array(self.matrix).reshape(3, 3)


@dataclass(frozen=True, slots=True)
class Rules:
    """How frames are judged."""

    align: str
    keep_all: bool
    match: bool


def judged(
    frames: Sequence[Frame], reference: Frame, rules: Rules, tools: Hugin, *, pool: Pool | None, show: Progress
) -> tuple[Verdict, ...]:
    """What is found of each frame, in their order.

    Raises:
        BurstError: fewer than two frames can be used.
    """
    typical = float(np.median([frame.sharpness for frame in frames]))
    judge = partial(verdict, reference=reference, typical=typical, rules=rules, tools=tools)
    found = []
    for _, one in engine.run(judge, frames, pool):
        found.append(one)
        show(len(found), len(frames))
        if not one.kept:
            log.warning("%s is left out: %s", one.name, one.reason)
    if sum(one.kept for one in found) < 2:
        reasons = {one.reason: one.name for one in found if not one.kept}
        said = "; ".join(f"{name}: {reason}" for reason, name in reasons.items())
        name = reference.photo.name
        raise BurstError(f"no photo can be used beside {name!r} ({said}); choose another --reference")
    return tuple(found)


def chosen(frames: Sequence[Frame]) -> Frame:
    """The reference: the frame nearest to the middle, unless one near it is clearly sharper.

    Frames much brighter or darker than the others are not taken: the outputs have the reference's exposure.
    """
    brightness = np.array([max(frame.brightness, 1e-9) for frame in frames])
    typical = np.abs(np.log(brightness / np.median(brightness))) <= np.log(TYPICAL_BRIGHTNESS)
    middle = (len(frames) - 1) // 2
    near = sorted(range(len(frames)), key=lambda i: (abs(i - middle), i))[: max(2, (len(frames) + 1) // 2)]
    best, *others = [frames[i] for i in near if typical[i]] or [frames[i] for i in near]
    for frame in others:
        if frame.sharpness > CLEARLY_SHARPER * best.sharpness:
            best = frame
    return best


def verdict(frame: Frame, *, reference: Frame, typical: float, rules: Rules, tools: Hugin) -> Verdict:
    """Whether and how a frame lies on the reference: work that can run in any thread."""
    found = Verdict(frame.photo.name, kept=True, sharpness=round(frame.sharpness, 5))
    if frame is reference:
        return replace(found, reference=True)
    if not rules.keep_all and frame.sharpness < LEAST_SHARPNESS * typical:
        told = f"blurred: its sharpness is {frame.sharpness:.3g}, that of the burst {typical:.3g}"
        return replace(found, kept=False, reason=told)
    fixed, moving = photos.load_proxy(reference.proxy), photos.load_proxy(frame.proxy)
    k = photos.factor(frame.photo.profile)
    if rules.align == "none":
        fit = align.Fit(_placed(reference.photo.profile, frame.photo.profile))
        proxy_matrix = at_scale(fit.matrix, 1 / k)
    else:
        try:
            fit = align_with_hugin(frame, reference, tools)
        except HuginError as error:
            return replace(found, kept=False, reason=str(error))
        fit = align.checked(fit, fixed, moving, k=k)
        proxy_matrix = fit.matrix
        agreed = np.hstack([apply(enlarging(k), points) for points in fit.agreed]).round(3)
        found = replace(found, control=tuple(map(tuple, agreed.tolist())))
        fit = replace(fit, matrix=at_scale(fit.matrix, k), rms=fit.rms * k, motion=fit.motion * k)
    found = replace(
        found,
        kept=not fit.problem,
        reason=fit.problem,
        matrix=tuple(fit.matrix.ravel().tolist()),
        points=fit.points,
        inliers=fit.inliers,
        rms=round(fit.rms, 4),
        correlation=round(fit.correlation, 5),
        motion=round(fit.motion, 4),
        still=round(fit.still, 4),
    )
    if rules.match and found.kept:
        gain, offset = align.exposure(fixed, moving, proxy_matrix)
        found = replace(found, gain=gain, offset=offset)
    return found


def align_with_hugin(frame: Frame, reference: Frame, tools: Hugin) -> align.Fit:
    """The fit to Hugin's control points, in pixels of the proxies; with easier settings when it is not good."""
    fit = align.Fit(np.eye(3), problem="not tried")
    for settings in hugin.SETTINGS:
        here, there = tools.control_points(reference.plain, frame.plain, settings)
        scale = photos.plain_factor(frame.photo.profile)
        here, there = (apply(enlarging(1 / scale), points) if len(points) else points for points in (here, there))
        profile = frame.photo.profile
        k = photos.factor(profile)
        fit = align.fit_points(here, there, (profile.width // k, profile.height // k))
        if not fit.problem:
            return fit
    return fit


def dumped(verdicts: Sequence[Verdict]) -> bytes:
    """The verdicts as bytes, to be loaded again."""
    return json.dumps([asdict(found) for found in verdicts]).encode()


def loaded(data: bytes) -> tuple[Verdict, ...]:
    """The verdicts that were dumped."""
    made = [Verdict(**{name: _tuples(value) for name, value in found.items()}) for found in json.loads(data)]
    return tuple(made)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def clipped(dtype: str, kept: Sequence[Verdict]) -> list[tuple[float, float]]:
    """For each frame the values at which its pixels lose their weight because others see further."""
    low, high = photos.limits(dtype)
    if not np.isfinite([low, high]).all():
        return [(-np.inf, np.inf)] * len(kept)
    lows = [found.gain * low + found.offset for found in kept]
    highs = [found.gain * high + found.offset for found in kept]
    slack = CLIPPED_EARLIER * (high - low)
    return [
        (low if its_low > min(lows) + slack else -np.inf, high if its_high < max(highs) - slack else np.inf)
        for its_low, its_high in zip(lows, highs, strict=True)
    ]


def _placed(reference: Profile, frame: Profile) -> Matrix:
    """Where a frame's own georeferencing puts it; as it lies, without any."""
    if not (reference.located and frame.located):
        return np.eye(3)
    to_frame = ~frame.transform @ reference.transform
    matrix = np.array([[to_frame.a, to_frame.b, to_frame.c], [to_frame.d, to_frame.e, to_frame.f], [0, 0, 1]])
    return np.asarray(shifting(-0.5, -0.5) @ matrix @ shifting(0.5, 0.5))
