"""Degraded photographs and their originals: pictures that scikit-image and scikit-learn carry.

Nothing is downloaded; the files are read from the installed packages, which are not imported.
scikit-learn is optional (``pip install --no-deps scikit-learn``): without it the test split has two
photographs fewer, which ``manifest.json`` and the printed counts say.

==========  =======================================================================  =============
split       photographs                                                              cut
==========  =======================================================================  =============
``train``   astronaut, motorcycle (both views), tissue section, galaxies, and three  160-px windows
            grey textures: bricks, grass, gravel
``val``     rocket                                                                   whole
``test``    chelsea (a cat), coffee; of scikit-learn: china, flower                  whole
==========  =======================================================================  =============

No scene is in two splits. Below each split lie ``clean`` and a folder for each degradation, with
the same file names, 8-bit png:

================================  ================================================================
``noise15 noise25 noise50``       Gaussian noise of that standard deviation of 255, independent in
                                  all pixels and channels
``poisson``                       noise of a camera: Poisson and Gaussian in linear light, another
                                  gain for each picture
``blur``                          motion blur along a line of 5 to 17 pixels, noise of 2 of 255
``rain``                          bright streaks, all in one direction
================================  ================================================================

All are rounded and cut to 0..255, as in files. Random numbers depend on nothing but the names of
degradation and picture, so the files are the same wherever they are made.
"""

import hashlib
import importlib.util
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from .folder import write_folder

WINDOW, STRIDE = 160, 128
MARGIN = 32
"""Pixels around a window that blur and rain may look at, where the photograph has them."""

ATTRIBUTION = """\
Photographs out of the packages scikit-image 0.26 and scikit-learn 1.9, degraded by mmext.

astronaut           NASA, Great Images database; public domain
chelsea             Stefan van der Walt; CC0
coffee              Rachel Michetti, courtesy of Pikolo Espresso Bar; CC0
rocket              SpaceX; public domain
hubble_deep_field   NASA / ESA, HubbleSite; public domain
ihc                 Center for Microscopy And Molecular Imaging (CMMI); no known restrictions
motorcycle_*        Middlebury stereo benchmark 2014; cite Scharstein et al., High-resolution stereo
                    datasets with subpixel-accurate ground truth, GCPR 2014
brick, gravel       CC0Textures (cc0textures.com); CC0
grass               linolafett (DeviantArt); CC0
china               danielbuechele (flickr.com/photos/danielbuechele/6061409035); CC BY 2.0
flower              vultilion (flickr.com/photos/vultilion/6056698931); CC BY 2.0

Changes: cut into windows (train), noise, blur and rain added, saved as png.
"""


@dataclass(frozen=True)
class Photo:
    """A picture of a package: its split, the package, file and SHA-256, and a centred crop."""

    split: str
    package: str
    file: str
    sha256: str
    crop: int | None = None

    @property
    def name(self) -> str:
        """Name of the picture in the data set."""
        return Path(self.file).stem


PHOTOS = (
    Photo(
        "train",
        "skimage",
        "data/astronaut.png",
        "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    ),
    Photo(
        "train",
        "skimage",
        "data/motorcycle_left.png",
        "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
    ),
    Photo(
        "train",
        "skimage",
        "data/motorcycle_right.png",
        "5fc913ae870e42a4b662314bc904d1786bcad8e2f0b9b67dba5a229406357797",
    ),
    Photo(
        "train",
        "skimage",
        "data/ihc.png",
        "f8dd1aa387ddd1f49d8ad13b50921b237df8e9b262606d258770687b0ef93cef",
    ),
    Photo(
        "train",
        "skimage",
        "data/hubble_deep_field.jpg",
        "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4",
        crop=512,
    ),
    Photo(
        "train",
        "skimage",
        "data/brick.png",
        "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf",
    ),
    Photo(
        "train",
        "skimage",
        "data/grass.png",
        "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89",
    ),
    Photo(
        "train",
        "skimage",
        "data/gravel.png",
        "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12",
    ),
    Photo(
        "val",
        "skimage",
        "data/rocket.jpg",
        "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
    ),
    Photo(
        "test",
        "skimage",
        "data/chelsea.png",
        "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    ),
    Photo(
        "test",
        "skimage",
        "data/coffee.png",
        "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    ),
    Photo(
        "test",
        "sklearn",
        "datasets/images/china.jpg",
        "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
    ),
    Photo(
        "test",
        "sklearn",
        "datasets/images/flower.jpg",
        "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
    ),
)
INSTALL = {
    "skimage": "pip install scikit-image==0.26.0",
    "sklearn": "pip install --no-deps scikit-learn==1.9.1",
}


def find_package(package: str) -> Path | None:
    """Return the folder of an installed package without importing it; None if it is missing."""
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def read_photo(photo: Photo) -> np.ndarray:
    """Read a picture after checking the file against its checksum.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        FileNotFoundError: Package or file is missing.
        ValueError: The file is not the one that the figures in the docs were measured with.
    """
    folder, install = find_package(photo.package), INSTALL[photo.package]
    if folder is None or not (folder / photo.file).is_file():
        raise FileNotFoundError(
            f"{photo.file} of the package {photo.package} is missing, where the photographs come "
            f"from: {install}"
        )
    content = (folder / photo.file).read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != photo.sha256:
        raise ValueError(
            f"{folder / photo.file} is another file: its SHA-256 is {found}, expected "
            f"{photo.sha256}. Reinstall it: {install}"
        )
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if photo.crop is None:
        return picture
    top, left = ((side - photo.crop) // 2 for side in picture.shape[:2])
    return picture[top : top + photo.crop, left : left + photo.crop]


def _line_kernel(length: float, angle: float) -> np.ndarray:
    """Return the (n, n) float64 weights, of sum 1, of a line through the middle.

    Args:
        length: In pixels.
        angle: In radians.
    """
    radius = int(np.ceil(length / 2))
    steps = np.linspace(-length / 2, length / 2, 8 * radius + 1)
    x, y = steps * np.cos(angle) + radius, steps * np.sin(angle) + radius
    kernel = np.zeros((2 * radius + 2, 2 * radius + 2))
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    for dy, dx in np.ndindex(2, 2):
        weight = (1 - np.abs(y - top - dy)) * (1 - np.abs(x - left - dx))
        np.add.at(kernel, (top + dy, left + dx), weight)
    kernel = kernel[:-1, :-1]
    return kernel / kernel.sum()


def _noise(sigma: float) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    def degrade(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return image + rng.normal(0, sigma / 255, image.shape)

    return degrade


def _poisson(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add the noise of a camera: in linear light, of variance ``gain * value + read**2``."""
    gain = 10 ** rng.uniform(-3, -2)
    read = 10 ** rng.uniform(-2.5, -1.7)
    linear = rng.poisson(image**2.2 / gain) * gain + rng.normal(0, read, image.shape)
    return linear.clip(0) ** (1 / 2.2)


def _blur(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    kernel = _line_kernel(rng.uniform(5, 17), rng.uniform(0, np.pi))
    blurred = cv2.filter2D(image, cv2.CV_64F, kernel, borderType=cv2.BORDER_REFLECT_101)
    return blurred + rng.normal(0, 2 / 255, image.shape)


def _rain(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    length, angle = rng.uniform(10, 24), np.pi / 2 + rng.uniform(-0.5, 0.5)
    drops = rng.random(image.shape[:2]) < rng.uniform(0.002, 0.006)
    strength = drops * rng.uniform(0.4, 1.2, image.shape[:2]) * length
    streaks = cv2.filter2D(strength, cv2.CV_64F, _line_kernel(length, angle))
    streaks = streaks.clip(0, 0.8)[..., None]
    return image * (1 - streaks) + streaks


DEGRADATIONS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "noise15": _noise(15),
    "noise25": _noise(25),
    "noise50": _noise(50),
    "poisson": _poisson,
    "blur": _blur,
    "rain": _rain,
}
_RECIPE = {"version": 1, "window": WINDOW, "stride": STRIDE, "degradations": list(DEGRADATIONS)}


def degrade(image: np.ndarray, degradation: str, name: str) -> np.ndarray:
    """Degrade a picture.

    Args:
        image: (H, W, 3) uint8.
        degradation: A key of ``DEGRADATIONS``.
        name: Name of the picture, which decides the random numbers.

    Returns:
        (H, W, 3) uint8.
    """
    rng = np.random.default_rng(zlib.crc32(f"{degradation}/{name}".encode()))
    result = DEGRADATIONS[degradation](image / 255, rng)
    return np.round(result.clip(0, 1) * 255).astype(np.uint8)


def windows(height: int, width: int, split: str) -> Iterator[tuple[int, int, int, int]]:
    """Yield top, left, bottom, right of a photograph's pictures in a split."""
    if split != "train":
        yield 0, 0, height, width
        return
    for top in _starts(height):
        for left in _starts(width):
            yield top, left, top + WINDOW, left + WINDOW


def _starts(side: int) -> list[int]:
    """Return where windows begin; the last one ends with the photograph."""
    return [*range(0, side - WINDOW, STRIDE), side - WINDOW]


def _write_photo(photo: Photo, root: Path) -> int:
    """Write a photograph's pictures below ``root/<split>``; return how many."""
    original = read_photo(photo)
    count = 0
    for top, left, bottom, right in windows(*original.shape[:2], photo.split):
        name = f"{photo.name}_{top}_{left}" if photo.split == "train" else photo.name
        # With a margin, so that blur and rain come in from outside the window.
        above, before = min(top, MARGIN), min(left, MARGIN)
        wide = original[top - above : bottom + MARGIN, left - before : right + MARGIN]
        inner = (slice(above, above + bottom - top), slice(before, before + right - left))
        pictures = {key: degrade(wide, key, name)[inner] for key in DEGRADATIONS}
        for key, picture in {"clean": wide[inner], **pictures}.items():
            path = root / photo.split / key / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        count += 1
    return count


def available_photos() -> list[Photo]:
    """Return the photographs of the packages that are installed.

    Raises:
        FileNotFoundError: scikit-image is missing.
    """
    if find_package("skimage") is None:
        raise FileNotFoundError(
            f"the photographs come out of scikit-image, which is not installed: "
            f"{INSTALL['skimage']}"
        )
    return [photo for photo in PHOTOS if find_package(photo.package) is not None]


def _is_prepared(root: Path, recipe: dict) -> bool:
    """Tell whether ``root`` holds the data of this recipe, complete."""
    manifest = root / "manifest.json"
    if not manifest.is_file():
        return False
    content = json.loads(manifest.read_text())
    return content["recipe"] == recipe and all(
        len(list((root / split / key).glob("*.png"))) == count
        for split, count in content["counts"].items()
        for key in ("clean", *DEGRADATIONS)
    )


def prepare(root: Path) -> Path:
    """Write the photographs as paired folders, about 75 MB.

    The folder appears complete or not at all; a second call finds it and returns at once, unless
    scikit-learn has been installed meanwhile.

    Args:
        root: Folder to write: ``<split>/clean/*.png``, ``<split>/<degradation>/*.png``,
            ``ATTRIBUTION.txt`` and ``manifest.json``.

    Returns:
        ``root``.

    Raises:
        FileNotFoundError: scikit-image is missing.
        ValueError: A photograph has another checksum.
        FileExistsError: ``root`` holds something that this function did not write.
    """
    root = Path(root)
    photos = available_photos()
    recipe = _RECIPE | {"photos": [asdict(photo) for photo in photos]}
    if _is_prepared(root, recipe):
        return root

    def write(folder: Path) -> None:
        counts: dict[str, int] = {}
        for photo in photos:
            written = _write_photo(photo, folder)
            counts[photo.split] = counts.get(photo.split, 0) + written
            print(f"{photo.split}: {written} pictures of {photo.name}", flush=True)
        (folder / "ATTRIBUTION.txt").write_text(ATTRIBUTION)
        manifest = dict(recipe=recipe, counts=counts)
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=2))

    write_folder(root, write, "photographs")
    return root
