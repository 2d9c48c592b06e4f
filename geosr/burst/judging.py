"""Frames of a burst judged: sharp or not, how each lies on the reference, how bright it is, and why it is left out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from geosr import engine
from geosr.burst import alignment, flow, hugin, photos
from geosr.burst.homography import Matrix, apply, at_scale, enlarging, shifting
from geosr.burst.hugin import Hugin
from geosr.burst.photos import Frame
from geosr.engine import Pool, Progress
from geosr.errors import BurstError, HuginError
from geosr.grid import Block
from geosr.rasters.profile import Profile

log = logging.getLogger(__name__)

LEAST_SHARPNESS = 0.35
"""Least sharpness, as a share of the median of the burst; motion blur leaves a tenth."""
TYPICAL_BRIGHTNESS = 1.15
"""Largest brightness ratio allowed between reference and burst median: the frames of a bracket differ by more."""
TYPICAL_CLIPPED = 0.02
"""Share of its pixels by which the reference may clip more than the burst's median."""
PARTS_STILL = 0.95
"""Share of a frame that one motion must fit, else its parts are aligned."""
LEAST_PARTS = 0.2
"""Share of the reference that the parts of a frame must fit."""
MOST_REFERENCES = 3
"""Frames that are tried as the reference: one that no other fits may show another scene."""
CLIPPED_EARLIER = 0.02
"""Share of the range by which a frame must clip before another for its clipped pixels to have no weight."""
KNEE = 0.06
"""Share of the range below white in which cameras press highlights together; it counts as clipped there."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The judgement of a frame: whether it is used, why not, and how it lies on the reference."""

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
    """Share of the frame that fits after alignment."""
    local: float = 0.0
    """Share of the reference on which its parts were aligned; 0 where one motion fits."""
    partial: bool = False
    """No one motion fits it: it counts where its parts were aligned, and nowhere else."""
    control: tuple[tuple[float, ...], ...] = ()
    """The control points that the matrix fits: column and row in the reference, column and row in the frame."""
    gain: tuple[float, ...] = (1.0,)
    """One for all bands, or one for each."""
    offset: tuple[float, ...] = (0.0,)

    @property
    def homography(self) -> Matrix:
        return np.array(self.matrix).reshape(3, 3)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Judgement:
        """Return the judgement whose fields were written as JSON."""
        return cls(**{name: _tuples(value) for name, value in values.items()})


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules that frames are judged by."""

    align: str
    keep_all: bool
    match: bool
    local: bool


def judge_frames(
    frames: Sequence[Frame],
    candidates: Sequence[Frame],
    rules: Rules,
    tools: Hugin,
    *,
    pool: Pool | None,
    show: Progress,
) -> tuple[Judgement, ...]:
    """Return the judgement of each frame, in their order, beside the first candidate that another frame fits.

    Raises:
        BurstError: no frame fits a candidate.
    """
    typical = float(np.median([frame.sharpness for frame in frames]))
    problems = []
    for reference in candidates[:MOST_REFERENCES]:
        judge = partial(judge_frame, reference=reference, typical=typical, rules=rules, tools=tools)
        judgements: list[Judgement] = []
        for _, judgement in engine.run(judge, frames, pool):
            judgements.append(judgement)
            show(len(judgements), len(frames))
        left_out = [judgement for judgement in judgements if not judgement.kept]
        if len(judgements) - len(left_out) >= 2:
            for judgement in left_out:
                log.warning("%s is left out: %s", judgement.name, judgement.reason)
            return tuple(judgements)
        reasons = {judgement.reason: judgement.name for judgement in left_out}
        problems.append("; ".join(f"{name}: {reason}" for reason, name in reasons.items()))
    raise BurstError(
        f"no other photo fits {candidates[0].photo.name!r}, the reference ({problems[0]}); it may show another scene: "
        "remove it, or name another with --reference"
    )


def references(frames: Sequence[Frame]) -> list[Frame]:
    """Return the well exposed frames, the sharpest first, of equal ones the nearest to the middle.

    The outputs have the reference's exposure: its brightness is near the burst's median, and it clips little more than
    the others do. Where no frame is so, the nearest in brightness is taken.
    """
    brightness = np.log([max(frame.brightness, 1e-9) for frame in frames])
    off = np.abs(brightness - np.median(brightness))
    clipped_shares = np.array([frame.clipped for frame in frames])
    good = (off <= np.log(TYPICAL_BRIGHTNESS)) & (clipped_shares <= np.median(clipped_shares) + TYPICAL_CLIPPED)
    if not good.any():
        good = off <= off.min() + 1e-9
    middle = (len(frames) - 1) // 2
    order = sorted(np.flatnonzero(good).tolist(), key=lambda i: (-frames[i].sharpness, abs(i - middle)))
    return [frames[i] for i in order]


def judge_frame(frame: Frame, *, reference: Frame, typical: float, rules: Rules, tools: Hugin) -> Judgement:
    """Judge a frame, and find how it lies on the reference: work that can run in any thread."""
    judgement = Judgement(frame.photo.name, kept=True, sharpness=round(frame.sharpness, 5))
    if frame is reference:
        return replace(judgement, reference=True)
    if not rules.keep_all and frame.sharpness < LEAST_SHARPNESS * typical:
        reason = f"blurred: its sharpness is {frame.sharpness:.3g}, that of the burst {typical:.3g}"
        return replace(judgement, kept=False, reason=reason)
    (fixed, trusted), (moving, usable) = photos.load_proxy(reference.proxy), photos.load_proxy(frame.proxy)
    k = photos.factor(frame.photo.profile)
    if rules.align == "none":
        fit = alignment.Fit(georeferenced(reference.photo.profile, frame.photo.profile))
        proxy_matrix = at_scale(fit.matrix, 1 / k)
    else:
        try:
            fit = align_with_hugin(frame, reference, tools)
        except HuginError as error:
            return replace(judgement, kept=False, reason=str(error))
        fit = alignment.checked(fit, (fixed.mean(axis=0), trusted), (moving.mean(axis=0), usable), k=k)
        proxy_matrix = fit.matrix
        if rules.local and (fit.parallax or (fit.still < PARTS_STILL and not fit.problem)):
            share = flow.find((fixed.mean(axis=0), trusted), (moving.mean(axis=0), usable), fit.matrix).share
            if fit.parallax and share >= LEAST_PARTS:
                fit, judgement = replace(fit, problem=""), replace(judgement, partial=True)
            judgement = replace(judgement, local=round(share, 4))
        agreed = np.hstack([apply(enlarging(k), points) for points in fit.agreed]).round(3)
        judgement = replace(judgement, control=tuple(map(tuple, agreed.tolist())))
        fit = replace(fit, matrix=at_scale(fit.matrix, k), rms=fit.rms * k, motion=fit.motion * k)
    judgement = replace(
        judgement,
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
    if rules.match and judgement.kept:
        gain, offset = alignment.exposure((fixed, trusted), (moving, usable), proxy_matrix)
        judgement = replace(judgement, gain=gain, offset=offset)
    return judgement


def parts_flow(frame: Frame, reference: Frame, judgement: Judgement) -> flow.Flow:
    """Return the flow that `judge_frame` found for a frame whose parts it aligned."""
    (fixed, trusted), (moving, usable) = photos.load_proxy(reference.proxy), photos.load_proxy(frame.proxy)
    matrix = at_scale(judgement.homography, 1 / photos.factor(frame.photo.profile))
    motion = flow.find((fixed.mean(axis=0), trusted), (moving.mean(axis=0), usable), matrix)
    return motion if judgement.partial else motion.faded()


def align_with_hugin(frame: Frame, reference: Frame, tools: Hugin) -> alignment.Fit:
    """Return the fit to Hugin's control points, in pixels of the proxies; easier settings follow a bad one."""
    fit = alignment.Fit(np.eye(3), problem="not tried")
    for settings in hugin.SETTINGS:
        here, there = tools.control_points(reference.plain, frame.plain, settings)
        scale = photos.plain_factor(frame.photo.profile)
        here, there = (apply(enlarging(1 / scale), points) if len(points) else points for points in (here, there))
        profile = frame.photo.profile
        k = photos.factor(profile)
        fit = alignment.fit_points(here, there, (profile.width // k, profile.height // k))
        if not fit.problem:
            return fit
    return fit


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def clipped(dtype: str, judgements: Sequence[Judgement]) -> list[tuple[Block, Block]]:
    """Return for each used frame the values of each band at which its pixels lose their weight.

    Those are the ends of the range where others see further, within the range that the result can hold.
    """
    low, high = photos.limits(dtype)
    gains, offsets = (
        np.stack(np.broadcast_arrays(*(np.array(getattr(judgement, name)) for judgement in judgements)))
        for name in ("gain", "offset")
    )
    if not np.isfinite([low, high]).all():
        return [(np.full_like(gain, -np.inf), np.full_like(gain, np.inf)) for gain in gains]
    lows, highs = (np.clip(gains * end + offsets, low, high) for end in (low, high))
    slack, knee = CLIPPED_EARLIER * (high - low), KNEE * (high - low)
    starts = np.where(lows > lows.min(axis=0) + slack, low, -np.inf)
    ends = np.where(highs < highs.max(axis=0) - slack, high - knee, np.inf)
    return list(zip(starts, ends, strict=True))


def georeferenced(reference: Profile, frame: Profile) -> Matrix:
    """Return the matrix of a frame's own georeferencing; the identity without any."""
    if not (reference.located and frame.located):
        return np.eye(3)
    to_frame = ~frame.transform @ reference.transform
    matrix = np.array([[to_frame.a, to_frame.b, to_frame.c], [to_frame.d, to_frame.e, to_frame.f], [0, 0, 1]])
    return np.asarray(shifting(-0.5, -0.5) @ matrix @ shifting(0.5, 0.5))
