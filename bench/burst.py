"""geosr burst beside the script it replaces, on bursts whose truth is known, in one run.

    python bench/burst.py [--only linsr easy] [--shared ../shared/data]

Makes a scene of discs of all sizes, photographs it with a simulated camera (rotation, shifts of fractions of a pixel,
lens blur, Bayer mosaic, noise, demosaicing), and stacks the photos with geosr and with the older script: vips resize,
align_image_stack with -C -x -y -z, mean and median. Prints the alignment error, PSNR, time, disk and memory of both,
and writes bench/results_burst.json. Needs hugin-tools, libvips-tools and geosr[raw].
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rasterio
from PIL import Image

from geosr.burst.homography import apply, corners, enlarging, shifting
from geosr.grid import Window

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from tests.photographs import save_mosaic  # noqa: E402 - the folder above is not on the path of a script

FINE = 4
"""Pixels of the scene across one of a photo."""
BORDER = 200
"""Pixels of a photo that the scene goes on for on every side."""
SCALE = 2


@dataclass(frozen=True)
class Burst:
    """Photos on the disk and where they were taken from: matrices from the scene's centre piece to each photo."""

    folder: Path
    matrices: list[np.ndarray]
    scene: np.ndarray
    size: tuple[int, int]
    track: np.ndarray | None = None
    """True (rows, cols), at the scale of the result, where something moved."""

    def between(self, one: int, other: int) -> np.ndarray:
        return self.matrices[other] @ np.linalg.inv(self.matrices[one])


def dead_leaves(width: int, height: int, seed: int) -> np.ndarray:
    """A scene (rows, cols, 3) of 0..1: discs of all sizes that hide each other, with stripes and grain on some."""
    rng = np.random.default_rng(seed)
    scene = np.full((height, width, 3), 0.5, np.float32)
    radii = np.sort(10 / rng.power(1.6, 5000 * width * height // 10**7))[::-1].clip(10, min(width, height) / 5)
    for radius in radii:
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        colour = rng.uniform(0.08, 0.85) * (0.8 + 0.4 * rng.random(3))
        cv2.circle(scene, (int(x), int(y)), int(radius), [float(c) for c in colour.clip(0, 0.95)], -1, cv2.LINE_AA)
        if radius > 40 and rng.random() < 0.5:
            angle, pitch = rng.uniform(0, np.pi), rng.uniform(10, 40)
            for k in np.arange(-radius, radius, pitch):
                middle = np.array([x, y]) + k * np.array([np.cos(angle), np.sin(angle)])
                along = np.sqrt(radius**2 - k**2) * np.array([-np.sin(angle), np.cos(angle)])
                ends = [tuple(int(v) for v in middle + s * along) for s in (-1, 1)]
                shade = [float(c) for c in (colour * 0.6).clip(0, 1)]
                cv2.line(scene, *ends, shade, max(1, int(pitch / 3)), cv2.LINE_AA)
    return scene


def camera(yaw: float, pitch: float, roll: float, size: tuple[int, int], view: float = 60) -> np.ndarray:
    """The homography of a camera turned by these degrees: from the pixels of one held straight to its own."""
    width, height = size
    focal = width / 2 / np.tan(np.radians(view) / 2)
    inner = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    y, p, r = np.radians([yaw, pitch, roll])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    matrix = inner @ about_z @ about_x @ about_y @ np.linalg.inv(inner)
    return matrix / matrix[2, 2]


def rigid(shift: np.ndarray, degrees: float, size: tuple[int, int]) -> np.ndarray:
    """The homography of a shift and a turn about the middle."""
    (width, height), turn = size, np.radians(degrees)
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    matrix = np.eye(3)
    matrix[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    matrix[:2, 2] = centre + shift - matrix[:2, :2] @ centre
    return matrix


def seen(scene: np.ndarray, matrix: np.ndarray, size: tuple[int, int], k: int) -> np.ndarray:
    """The scene without blur or noise in the pixels of a photo enlarged `k` times: their means, not samples."""
    fine = FINE // k
    whole = (
        shifting(BORDER * FINE, BORDER * FINE)
        @ enlarging(FINE)
        @ np.linalg.inv(matrix)
        @ np.linalg.inv(enlarging(FINE))
    )
    wide = (size[0] * FINE, size[1] * FINE)
    image = cv2.warpPerspective(scene, whole, wide, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return image.reshape(size[1] * k, fine, size[0] * k, fine, 3).mean((1, 3))


def photograph(
    scene: np.ndarray, matrix: np.ndarray, size: tuple[int, int], *, noise: float, bits: int, rng: Any
) -> Any:
    """A photo (rows, cols, 3) as a camera with a Bayer mosaic makes it."""
    raw = np.uint16(np.clip(mosaic_of(scene, matrix, size, noise=noise, rng=rng), 0, 1) * 65535)
    colours = cv2.demosaicing(raw, cv2.COLOR_BayerRGGB2RGB_EA)
    return colours if bits == 16 else np.uint8(np.rint(colours / 257))


def mosaic_of(scene: np.ndarray, matrix: np.ndarray, size: tuple[int, int], *, noise: float, rng: Any) -> np.ndarray:
    """What the sensor sees (rows, cols) under its mosaic, whose first row is blue, green for this scene."""
    blurred = cv2.GaussianBlur(scene, (0, 0), 0.45 * FINE)
    light = seen(blurred, matrix, size, 1)
    mosaic = light[..., 2].copy()
    mosaic[::2, 1::2] = mosaic[1::2, ::2] = 0
    mosaic[::2, 1::2], mosaic[1::2, ::2], mosaic[::2, ::2] = (
        light[::2, 1::2, 1],
        light[1::2, ::2, 1],
        light[::2, ::2, 0],
    )
    return mosaic + rng.normal(0, 1, mosaic.shape) * noise * np.sqrt(0.2 + mosaic)


def save(path: Path, image: np.ndarray) -> None:
    profile = {"width": image.shape[1], "height": image.shape[0], "count": 3, "dtype": image.dtype.name}
    with rasterio.open(path, "w", driver="GTiff", photometric="RGB", compress="none", **profile) as out:
        out.write(np.moveaxis(image, -1, 0))


def make_burst(
    folder: Path, size: tuple[int, int], matrices: list[np.ndarray], *, noise: float, bits: int = 8, seed: int = 1,
    disc: Callable[[int], tuple[float, float]] | None = None, near: list[tuple[float, float]] | None = None,
) -> Burst:  # fmt: skip
    """Photos 01.tif, 02.tif, ... of one scene; `disc` says where a disc lies in the scene at each photo.

    `near` says for each photo by how many of its pixels the near things lie right and down of where they are in the
    first, against the far ones.
    """
    folder.mkdir()
    rng = np.random.default_rng(seed)
    scene = dead_leaves((size[0] + 2 * BORDER) * FINE, (size[1] + 2 * BORDER) * FINE, seed)
    track = np.zeros(scene.shape[:2], np.uint8) if disc else None
    nearer = near_things(scene.shape, seed) if near else None
    for i, matrix in enumerate(matrices):
        there = scene if nearer is None else before(scene, *nearer, near[i])
        if disc:
            there = scene.copy()
            x, y = (int(v) for v in disc(i))
            cv2.circle(there, (x, y), 28 * FINE, (0.9, 0.3, 0.2), -1, cv2.LINE_AA)
            cv2.circle(there, (x, y), 14 * FINE, (0.1, 0.2, 0.8), -1, cv2.LINE_AA)
            cv2.circle(track, (x, y), 30 * FINE, 1, -1)
        save(folder / f"{i + 1:02d}.tif", photograph(there, matrix, size, noise=noise, bits=bits, rng=rng))
    if nearer is not None:
        scene, track = before(scene, *nearer, near[0]), np.uint8(nearer[1] > 0.5)
    return Burst(folder, matrices, scene, size, track)


def near_things(shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Another scene (rows, cols, 3), and how much (rows, cols) of it hides the far one: some large discs."""
    rng, (height, width) = np.random.default_rng(seed + 50), shape[:2]
    mask = np.zeros((height, width), np.float32)
    for _ in range(9):
        place = int(rng.uniform(0.2, 0.8) * width), int(rng.uniform(0.2, 0.8) * height)
        cv2.circle(mask, place, int(rng.uniform(0.06, 0.13) * height), 1.0, -1, cv2.LINE_AA)
    return dead_leaves(width, height, seed + 51), mask


def before(far: np.ndarray, near: np.ndarray, mask: np.ndarray, shift: tuple[float, float]) -> np.ndarray:
    """The far scene with the near things before it, shifted by pixels of a photo."""
    move = np.float64([[1, 0, shift[0] * FINE], [0, 1, shift[1] * FINE]])
    near, mask = (cv2.warpAffine(image, move, mask.shape[::-1]) for image in (near, mask))
    return mask[..., None] * near + (1 - mask[..., None]) * far


def older(burst: Burst, out: Path) -> tuple[np.ndarray, np.ndarray]:
    """The older script: mean and median (rows, cols, 3) of its aligned images, the latter as it was."""
    out.mkdir()
    names = []
    for path in sorted(burst.folder.glob("*.tif")):
        names.append(f"big_{path.name}")
        subprocess.run(["vips", "resize", path, out / names[-1], "2", "--kernel", "linear"], check=True)
    command = ["align_image_stack", "--use-given-order", "-C", "-x", "-y", "-z", "-a", "aligned_", "-s", "1"]
    command += ["--corr=0.8", "-t", "1", "-c", "100", *names]
    subprocess.run(command, cwd=out, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=1500, check=False)
    aligned = sorted(out.glob("aligned_*.tif"))
    with rasterio.open(aligned[0]) as first:
        height, width, dtype = first.height, first.width, first.dtypes[0]
    mean, median = (np.zeros((height, width, 3), dtype) for _ in range(2))
    for row in range(0, height, 256):
        rows = min(256, height - row)
        stack = []
        for path in aligned:
            with rasterio.open(path) as image:
                stack.append(image.read([1, 2, 3], window=((row, row + rows), (0, width))))
        block = np.stack(stack)
        mean[row : row + rows] = np.moveaxis(np.rint(block.mean(axis=0)), 0, -1)
        middle = np.sort(np.concatenate([block, np.zeros_like(block[:1])]), axis=0)[len(block) // 2]
        median[row : row + rows] = np.moveaxis(middle, 0, -1)
    save(out / "mean.tif", mean)
    save(out / "median.tif", median)
    return mean, median


def ours(burst: Burst, out: Path, *extra: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "geosr", "burst", str(burst.folder), str(out), "--json", "-qq", *extra]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout)


def load(path: Path) -> np.ndarray:
    with rasterio.open(path) as image:
        return np.moveaxis(image.read([1, 2, 3]), 0, -1)


def compared(burst: Burst, image: np.ndarray, first: int) -> tuple[float, float, np.ndarray]:
    """PSNR of an enlarged image, on the moving thing's track alone too, and its errors.

    Where the image lies is found by ECC against the truth as photo `first` would see it; then the truth is made for
    just that place: nobody is marked down for a shift of the whole.
    """
    top = np.iinfo(image.dtype).max
    found = image.astype(np.float32) / top
    size = image.shape[1] // SCALE, image.shape[0] // SCALE
    found = found[: size[1] * SCALE, : size[0] * SCALE]
    matrix = burst.matrices[first]
    truth = seen(burst.scene, matrix, burst.size, SCALE)
    gray = [cv2.cvtColor(one, cv2.COLOR_RGB2GRAY) for one in (found, truth)]
    offset = cv2.matchTemplate(gray[1], gray[0][60:-60, 60:-60], cv2.TM_CCOEFF_NORMED)
    col, row = cv2.minMaxLoc(offset)[3]
    start = np.array([[1, 0, col - 60], [0, 1, row - 60], [0, 0, 1]], np.float32)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 50, 1e-6)
    _, place = cv2.findTransformECC(
        gray[1], gray[0], np.linalg.inv(start).astype(np.float32), cv2.MOTION_HOMOGRAPHY, stop
    )
    to_image = place.astype(float) @ enlarging(SCALE) @ matrix  # from the scene's centre piece to the image
    exact = seen(burst.scene, np.linalg.inv(enlarging(SCALE)) @ to_image, size, SCALE)
    inside = (slice(40, -40), slice(40, -40))
    error = ((found - exact) ** 2)[inside]
    on_track = np.nan
    if burst.track is not None:
        track = seen(
            burst.track[..., None].repeat(3, -1).astype(np.float32),
            np.linalg.inv(enlarging(SCALE)) @ to_image,
            size,
            SCALE,
        )
        on_track = psnr(error[track[inside][..., 0] > 0.5])
    return psnr(error), on_track, error


def psnr(error: np.ndarray) -> float:
    return float(-10 * np.log10(error.mean()))


def alignment_error(burst: Burst, said: dict[str, Any]) -> float:
    """Mean distance, in pixels of the photos, between where frames are and where they were put."""
    frames = said["frames"]
    first = next(i for i, frame in enumerate(frames) if frame["reference"])
    rows, cols = np.mgrid[0.1:0.9:9j, 0.1:0.9:9j]
    points = np.column_stack([cols.ravel() * burst.size[0], rows.ravel() * burst.size[1]])
    errors = []
    for i, frame in enumerate(frames):
        if frame["kept"] and not frame["reference"]:
            found, true = np.array(frame["matrix"]).reshape(3, 3), burst.between(first, i)
            errors.append(np.linalg.norm(apply(found, points) - apply(true, points), axis=1).mean())
    return float(np.mean(errors))


def measured(work: Callable[[], Any], folder: Path) -> dict[str, float]:
    """CPU seconds, those of the older script's mean and median here too, and the most that lay in the folder."""
    before = _cpu()
    most, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.2):
            total = 0
            for path in folder.rglob("*"):
                with suppress(OSError):
                    total += path.stat().st_size
            most[0] = max(most[0], total / 1e6)

    thread = threading.Thread(target=watch)
    thread.start()
    start = time.perf_counter()
    work()
    wall = time.perf_counter() - start
    done.set()
    thread.join()
    return {"CPU s": _cpu() - before, "wall s": wall, "disk MB": most[0]}


def _cpu() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def both(burst: Burst, room: Path, name: str) -> dict[str, Any]:
    """The older mean beside ours without sharpening and as shipped."""
    plain = ours(burst, room / f"{name}_plain", "--sharpen", "0")
    ours(burst, room / f"{name}_shipped")
    first = next(i for i, frame in enumerate(plain["frames"]) if frame["reference"])
    mean, _ = older(burst, room / f"{name}_older")
    theirs = compared(burst, mean, first)[0]
    unsharpened = compared(burst, load(room / f"{name}_plain" / "mean.tif"), first)[0]
    as_shipped = compared(burst, load(room / f"{name}_shipped" / "robust.tif"), first)[0]
    return {
        "alignment error, px": alignment_error(burst, plain),
        "kept": f"{plain['kept']} of {len(plain['frames'])}",
        "PSNR of the older mean": theirs,
        "ours unsharpened, over it": unsharpened - theirs,
        "ours as shipped, over it": as_shipped - theirs,
    }


def rigid_matrices(
    count: int, size: tuple[int, int], seed: int, reach: float = 8, turn: float = 0.3
) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.eye(3)] + [
        rigid(rng.uniform(-reach, reach, 2), rng.uniform(-turn, turn), size) for _ in range(count - 1)
    ]


def moving(room: Path, size: tuple[int, int]) -> dict[str, Any]:
    def disc(i: int) -> tuple[float, float]:
        return (BORDER + size[0] * (0.3 + 0.015 * i)) * FINE, (BORDER + size[1] * 0.5) * FINE

    burst = make_burst(room / "moving", size, rigid_matrices(10, size, 5), noise=0.03, disc=disc)
    ours(burst, room / "moving_out", "--sharpen", "0")
    rows = {
        name: compared(burst, load(room / "moving_out" / f"{name}.tif"), 4) for name in ("mean", "median", "robust")
    }
    return {
        f"{name}, {what}": rows[name][i] for name in rows for i, what in ((1, "on the track"), (0, "all of it"))
    } | {"robust over mean on the track": rows["robust"][1] - rows["mean"][1]}


def raw(room: Path, size: tuple[int, int]) -> dict[str, Any]:
    """The same photos as RAW files and as JPEGs of the camera; both results are compared in linear light."""
    matrices, rng = rigid_matrices(8, size, 9), np.random.default_rng(1)
    scene = dead_leaves((size[0] + 2 * BORDER) * FINE, (size[1] + 2 * BORDER) * FINE, 1)
    (room / "dng").mkdir()
    (room / "jpeg").mkdir()
    for i, matrix in enumerate(matrices):
        mosaic = mosaic_of(scene, matrix, size, noise=0.02, rng=rng)
        save_mosaic(room / "dng" / f"{i + 1:02d}.dng", mosaic)
        colours = cv2.demosaicing(np.uint16(mosaic.clip(0, 1) * 65535), cv2.COLOR_BayerRGGB2RGB_EA) / 65535
        encoded = np.where(colours <= 0.0031308, 12.92 * colours, 1.055 * colours ** (1 / 2.4) - 0.055)
        Image.fromarray(np.uint8(np.rint(255 * encoded))).save(room / "jpeg" / f"{i + 1:02d}.jpg", quality=92)
    found = {}
    for kind in ("dng", "jpeg"):
        burst = Burst(room / kind, matrices, scene, size)
        ours(burst, room / f"{kind}_out", "--reference", f"01.{kind[:3].replace('jpe', 'jpg')}", "--depth", "16")
        image = load(room / f"{kind}_out" / "robust.tif") / 65535
        if kind == "jpeg":
            image = np.where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055) ** 2.4)
        found[kind] = compared(burst, np.uint16(np.rint(65535 * image)), 0)[0]
    return found | {"RAW over JPEG": found["dng"] - found["jpeg"]}


def depths(room: Path, size: tuple[int, int]) -> dict[str, Any]:
    """A scene of two depths: near things move by 4 to 10 pixels against far ones."""
    rng, found = np.random.default_rng(12), {}
    turns, ways = rng.uniform(0, 2 * np.pi, 7), rng.uniform(4, 10, 7)
    near = [(0.0, 0.0), *zip(ways * np.cos(turns), ways * np.sin(turns), strict=True)]
    for noise in (0.02, 0.05, 0.1):
        burst = make_burst(room / f"depths{noise}", size, rigid_matrices(8, size, 7), noise=noise, near=near)
        for way in ("local", "no-local"):
            out = room / f"depths{noise}_{way}"
            said = ours(burst, out, "--sharpen", "0", "--reference", "01.tif", f"--{way}")
            found[f"noise {noise}, --{way}"] = {
                "kept": f"{said['kept']} of 8, {sum(frame['partial'] for frame in said['frames'])} in parts",
                **{name: compared(burst, load(out / f"{name}.tif"), 0)[:2] for name in ("mean", "robust")},
            }
    return found


def bad_frames(room: Path, size: tuple[int, int]) -> dict[str, Any]:
    """A burst with one bad frame at its end, against the same burst without it."""
    matrices = rigid_matrices(7, size, 6)
    burst = make_burst(room / "good", size, matrices, noise=0.03)
    spare = burst.folder / "07.tif"
    image = load(spare)
    spare.unlink()
    ours(burst, room / "good_out", "--reference", "03.tif")
    base = compared(burst, load(room / "good_out" / "robust.tif"), 2)[0]
    rng, found = np.random.default_rng(9), {}
    other = dead_leaves((size[0] + 2 * BORDER) * FINE, (size[1] + 2 * BORDER) * FINE, 77)
    kernel = np.zeros((25, 25), np.float32)
    kernel[12] = 1 / 25
    bad = {
        "unrelated": photograph(other, np.eye(3), size, noise=0.03, bits=8, rng=rng),
        "blurred": cv2.filter2D(image, -1, kernel),
        "parallax": parallax(image),
    }
    for name, picture in bad.items():
        save(spare, picture)
        said = ours(burst, room / f"bad_{name}", "--reference", "03.tif")
        dropped = [f"{frame['name']}: {frame['reason']}" for frame in said["frames"] if not frame["kept"]]
        found[name] = {
            "PSNR over that without it": compared(burst, load(room / f"bad_{name}" / "robust.tif"), 2)[0] - base,
            "left out": dropped,
        }
        spare.unlink()
    return found


def parallax(image: np.ndarray) -> np.ndarray:
    """The photo with near things moved against far ones: a smooth depth of hills, up to 30 pixels."""
    rng = np.random.default_rng(4)
    depth = cv2.GaussianBlur(rng.random(image.shape[:2]).astype(np.float32), (0, 0), 40)
    depth = (depth - depth.min()) / np.ptp(depth)
    rows, cols = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    return cv2.remap(image, cols + 30 * depth, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def costs(room: Path, size: tuple[int, int]) -> dict[str, Any]:
    """CPU and disk for six photos of this size."""
    (room / "large").mkdir()
    rng = np.random.default_rng(3)
    scene = np.uint8(255 * dead_leaves(size[0] + 2 * BORDER, size[1] + 2 * BORDER, 11))
    for i, matrix in enumerate(rigid_matrices(6, size, 8)):
        whole = shifting(BORDER, BORDER) @ np.linalg.inv(matrix)
        image = cv2.warpPerspective(scene, whole, size, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
        noise = rng.normal(0, 5, image.shape).astype(np.float32)
        save(room / "large" / f"{i + 1:02d}.tif", np.uint8(np.clip(image + noise, 0, 255)))
    burst, out, small = Burst(room / "large", [], np.zeros(0), size), room / "large_out", room / "large_small"
    found = {
        "ours, mean and median": measured(lambda: ours(burst, out, "-m", "mean", "-m", "median"), out),
        "ours, as shipped, --memory 512MB": measured(lambda: ours(burst, small, "--memory", "512MB"), small),
    }
    found["older"] = measured(lambda: older(burst, room / "large_older"), room / "large_older")
    mine, theirs = found["ours, mean and median"], found["older"]
    found["shares"] = {what: mine[what] / theirs[what] for what in mine}
    return found


def linsr(room: Path, shared: Path) -> dict[str, Any]:
    """Ten frames with published shifts, against the first."""
    folder = shared / "bursts" / "linsr"
    shifts = np.loadtxt(folder / "shifts_fig1.txt")
    (room / "linsr").mkdir()
    for i in range(10):
        with rasterio.open(f"GTIFF_DIR:{i + 1}:{folder / 'bridge_sequence_fig1.tif'}") as page:
            profile = {**page.profile, "driver": "GTiff"}
            with rasterio.open(room / "linsr" / f"{i + 1:02d}.tif", "w", **profile) as out:
                out.write(page.read())
    burst = Burst(room / "linsr", [], np.zeros(0), (150, 108))
    said = ours(burst, room / "linsr_out", "--reference", "01.tif", "--keep-all")
    middle = corners(Window(0, 0, 150, 108)).mean(axis=0, keepdims=True)
    errors = []
    for frame, shift in zip(said["frames"], shifts, strict=True):
        moved = (apply(np.array(frame["matrix"]).reshape(3, 3), middle) - middle)[0]
        errors.append(
            min(np.abs(moved - sign * (shift - shifts[0])[::step]).max() for sign in (1, -1) for step in (1, -1))
        )
    return {
        "kept": said["kept"],
        "largest error of a shift, px": max(errors),
        "all": [round(float(e), 3) for e in errors],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=HERE.parents[1] / "shared" / "data")
    parser.add_argument(
        "--only", nargs="*", default=["costs", "easy", "easy16", "slips", "moving", "depths", "raw", "bad", "linsr"]
    )
    parser.add_argument("--keep", type=Path, help="a folder to leave everything in")
    asked = parser.parse_args()
    warnings.filterwarnings("ignore", "Dataset has no geotransform")
    size = 1200, 900
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        room = asked.keep or Path(temporary)
        room.mkdir(exist_ok=True)
        easy = rigid_matrices(6, size, 2)
        rng = np.random.default_rng(3)
        # A wide lens that drifts, and no EXIF to say so: align_image_stack takes 50 degrees for granted.
        pan = [camera(0.9 * i + rng.normal(0, 0.2), 0.3 * i, 0.5 * i + rng.normal(0, 0.2), size, 84) for i in range(12)]
        rows: dict[str, Callable[[], Any]] = {
            "costs": lambda: costs(room, (4896, 3264)),
            "easy": lambda: both(make_burst(room / "easy", size, easy, noise=0.02), room, "easy"),
            "easy16": lambda: both(make_burst(room / "easy16", size, easy, noise=0.02, bits=16), room, "easy16"),
            "slips": lambda: both(make_burst(room / "slips", size, pan, noise=0.05, seed=4), room, "slips"),
            "moving": lambda: moving(room, size),
            "depths": lambda: depths(room, size),
            "raw": lambda: raw(room, size),
            "bad": lambda: bad_frames(room, size),
            "linsr": lambda: linsr(room, asked.shared),
        }
        for name in asked.only:
            results[name] = rows[name]()
            print(name, json.dumps(results[name], indent=1, default=lambda x: round(float(x), 3)), flush=True)
    (HERE / "results_burst.json").write_text(json.dumps(results, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()
