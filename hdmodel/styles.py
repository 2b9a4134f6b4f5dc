"""The style bank of a checkpoint: the styles its classes come in (paper, section 3.4).

After training, the features of all objects are clustered class by class; every cluster centre is a
mode, a style that can be asked for. Shape legend: N objects, F feature channels, M modes of all
classes, K modes of one class.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hdmodel.atomic import write_atomically
from hdmodel.checkpoint import CONFIG_FILE, ENCODER_FILE, read_checkpoint_config
from hdmodel.errors import CheckpointError, InputError

STYLES_FILE = "styles.safetensors"
STYLES_INFO = "styles.json"

FORMAT = "hdsynth-styles"
VERSION = 1

MODES = 10
"""Modes per class, as in the paper."""
MIN_PER_MODE = 3
"""A class of n objects has at most n // MIN_PER_MODE modes, but at least one."""
MIN_AREA = 16
"""Pixels from which an object counts, at the size at which photos are encoded."""

_RESTARTS = 10

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ClassUse:
    """How much of what a class showed went into its modes."""

    objects: int
    used_objects: int
    pixels: int
    used_pixels: int


@dataclass(frozen=True, slots=True, eq=False)
class StyleBank:
    """The modes and the mean style of every class."""

    num_classes: int
    features: int
    """F."""
    centers: Vector
    """Modes [M, F], sorted by class, then by falling count."""
    class_ids: npt.NDArray[np.int64]
    """Class of each mode [M]; every class has at least one."""
    counts: npt.NDArray[np.int64]
    """Objects in each mode [M]."""
    means: Vector
    """Mean of the objects of each class [num_classes, F]; its fallback where it has none."""
    fallback: tuple[str | None, ...]
    """For each class without objects, in words, where its only mode comes from; else None."""
    uses: tuple[ClassUse, ...]
    """For each class, how much of it was used."""
    seed: int
    encoder_sha256: str
    """Digest of the weights of the encoder that the features come from."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """How the bank was made: plain data, for people."""

    def modes(self, class_id: int) -> Vector:
        """The modes of a class, the most frequent first [K, F], K >= 1."""
        return self.centers[self._rows(class_id)]

    def mode_counts(self, class_id: int) -> npt.NDArray[np.int64]:
        """The number of objects in each mode of a class [K]."""
        return self.counts[self._rows(class_id)]

    def mean(self, class_id: int) -> Vector:
        """The mean style of a class [F]."""
        mean: Vector = self.means[class_id]
        return mean

    def sample(self, class_id: int, rng: np.random.Generator) -> int:
        """Draw the number of a mode, as often as the mode occurs."""
        counts = self.mode_counts(class_id)
        total = counts.sum()
        return int(rng.choice(len(counts), p=counts / total if total else None))

    @property
    def sha256(self) -> str:
        """A hash of what decides the styles of objects: modes, counts, means and encoder."""
        digest = hashlib.sha256(self.encoder_sha256.encode())
        for name, array in _arrays(self).items():
            digest.update(f"{name}{array.shape}".encode())
            digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
        return digest.hexdigest()

    def _rows(self, class_id: int) -> slice:
        if not 0 <= class_id < self.num_classes:
            raise InputError(f"class {class_id}: expected 0..{self.num_classes - 1}")
        first, last = np.searchsorted(self.class_ids, (class_id, class_id + 1))
        return slice(int(first), int(last))


def cluster_styles(
    features: Vector,
    class_ids: npt.NDArray[np.integer],
    pixels: npt.NDArray[np.integer],
    *,
    num_classes: int,
    categories: Sequence[str],
    encoder_sha256: str,
    seed: int,
    modes: int = MODES,
    min_per_mode: int = MIN_PER_MODE,
    min_area: int = MIN_AREA,
    crowds: npt.NDArray[np.bool_] | None = None,
    class_names: Sequence[str] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> StyleBank:
    """Cluster the features of objects, class by class, with K-means.

    Objects smaller than `min_area`, and crowds, are left out where their class has others. A class
    of n remaining objects gets min(modes, max(1, n // min_per_mode)) modes, or fewer if fewer of
    its objects differ. A class without objects gets the mean of the nearest class of its category,
    nearest by id (the lower one of two), or where there is none the mean of all objects.

    Args:
        features: One row per object, floating [N, F].
        class_ids: Class of each object [N].
        pixels: Size of each object [N].
        num_classes: The number of classes.
        categories: Category of each class; classes of category "" belong together with none.
        encoder_sha256: Digest of the encoder's weights.
        seed: Of the K-means.
        modes: Most modes of a class.
        min_per_mode: See above.
        min_area: See above, in pixels.
        crowds: Which rows are several objects that nothing tells apart [N]; none if not given.
        class_names: For messages; by default `class 0` and so on.
        provenance: How the features were made, as plain data.

    Raises:
        InputError: There are no objects at all.
    """
    if not len(features):
        raise InputError("no objects to cluster, expected at least one")
    rows = np.asarray(features, np.float64)
    if not np.isfinite(rows).all():
        raise InputError("the encoder's features are not finite")
    small = np.asarray(pixels) < min_area
    used = _which_count(class_ids, small if crowds is None else small | crowds)
    own: dict[int, _ClassStyles] = {}
    for class_id in np.unique(class_ids).tolist():
        chosen = rows[used & (class_ids == class_id)]
        most = min(modes, max(1, len(chosen) // min_per_mode))
        own[class_id] = _cluster(chosen, most, seed)
    names = class_names or [f"class {class_id}" for class_id in range(num_classes)]
    overall = rows[used].mean(axis=0)
    styles = [
        own.get(class_id) or _borrow(class_id, own, categories, names, overall)
        for class_id in range(num_classes)
    ]
    return StyleBank(
        num_classes=num_classes,
        features=rows.shape[1],
        centers=np.concatenate([style.centers for style in styles]).astype(np.float32),
        class_ids=np.repeat(np.arange(num_classes), [len(style.counts) for style in styles]),
        counts=np.concatenate([style.counts for style in styles]),
        means=np.stack([style.mean for style in styles]).astype(np.float32),
        fallback=tuple(style.fallback for style in styles),
        uses=tuple(
            _use(class_ids == class_id, used, pixels=pixels) for class_id in range(num_classes)
        ),
        seed=seed,
        encoder_sha256=encoder_sha256,
        provenance={
            **(provenance or {}),
            "modes": modes,
            "min_per_mode": min_per_mode,
            "min_area": min_area,
        },
    )


@dataclass(frozen=True, slots=True, eq=False)
class _ClassStyles:
    """The modes of one class, the largest first, and its mean."""

    centers: npt.NDArray[np.float64]
    """[K, F]."""
    counts: npt.NDArray[np.int64]
    """[K]."""
    mean: npt.NDArray[np.float64]
    """[F]."""
    fallback: str | None = None
    """Whose mean it is, if the class has no objects."""


def _which_count(
    class_ids: npt.NDArray[np.integer], weak: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Which objects are clustered [N]: weak ones only where their class has no others."""
    return ~weak | ~np.isin(class_ids, class_ids[~weak])


def _use(
    members: npt.NDArray[np.bool_],
    used: npt.NDArray[np.bool_],
    *,
    pixels: npt.NDArray[np.integer],
) -> ClassUse:
    chosen = members & used
    return ClassUse(
        objects=int(members.sum()),
        used_objects=int(chosen.sum()),
        pixels=int(pixels[members].sum()),
        used_pixels=int(pixels[chosen].sum()),
    )


def _cluster(rows: npt.NDArray[np.float64], most: int, seed: int) -> _ClassStyles:
    """Cluster the features of one class, [n, F], into at most `most` modes."""
    most = min(most, len(np.unique(rows, axis=0)))
    members = np.zeros(len(rows), np.int64)
    if most > 1:
        from sklearn.cluster import KMeans

        members = KMeans(most, n_init=_RESTARTS, random_state=seed % 2**32).fit(rows).labels_
    numbers, members, counts = np.unique(members, return_inverse=True, return_counts=True)
    centers = np.stack([rows[members == n].mean(axis=0) for n in range(len(numbers))])
    # Equal counts are sorted by their centres, so that the order means something.
    order = np.lexsort((*centers.T[::-1], -counts))
    return _ClassStyles(centers[order], counts[order].astype(np.int64), rows.mean(axis=0))


def _borrow(
    class_id: int,
    own: Mapping[int, _ClassStyles],
    categories: Sequence[str],
    names: Sequence[str],
    overall: npt.NDArray[np.float64],
) -> _ClassStyles:
    """The styles of a class without objects: the mean of its nearest kin, or of all objects."""
    category = categories[class_id]
    kin = [other for other in own if category and categories[other] == category]
    if kin:
        nearest = min(kin, key=lambda other: abs(other - class_id))
        mean, fallback = own[nearest].mean, f"mean of {names[nearest]}, category {category}"
    else:
        mean, fallback = overall, "mean of all classes"
    return _ClassStyles(mean[None], np.zeros(1, np.int64), mean, fallback)


def has_styles(checkpoint: str | Path) -> bool:
    """Whether a checkpoint has a style bank, readable or not."""
    return (Path(checkpoint) / STYLES_INFO).is_file()


def save_styles(checkpoint: str | Path, bank: StyleBank) -> None:
    """Write a style bank into a checkpoint, in place of an older one.

    `styles.json` is written last and holds the digest of the numbers, so that a bank whose writing
    was interrupted is never read.

    Raises:
        CheckpointError: It is no checkpoint, the bank does not fit it, or it cannot be written.
    """
    from safetensors.numpy import save

    folder = Path(checkpoint)
    names = read_checkpoint_config(folder).taxonomy.class_names
    _check_fit(folder, bank)
    content = save(_arrays(bank))
    info = {
        "format": FORMAT,
        "version": VERSION,
        "sha256": {STYLES_FILE: hashlib.sha256(content).hexdigest()},
        **describe_styles(bank, names),
    }
    text = json.dumps(info, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        write_atomically(folder / STYLES_FILE, content)
        write_atomically(folder / STYLES_INFO, text.encode())
    except OSError as error:
        raise CheckpointError(
            f"{folder}: the style bank cannot be written ({error.strerror or error})"
        ) from None


def describe_styles(bank: StyleBank, class_names: Sequence[str]) -> dict[str, Any]:
    """What people want to know of a style bank, as plain data.

    Per class: the objects and pixels that there were and that were used, their shares (`coverage`,
    0..1, null where there were none), the number of objects in each mode, and the fallback.
    """
    return {
        "encoder_sha256": bank.encoder_sha256,
        "seed": bank.seed,
        "provenance": bank.provenance,
        "classes": [
            {
                "name": name,
                **asdict(use),
                "coverage": {
                    "objects": use.used_objects / use.objects if use.objects else None,
                    "pixels": use.used_pixels / use.pixels if use.pixels else None,
                },
                "modes": bank.mode_counts(class_id).tolist(),
                "fallback": bank.fallback[class_id],
            }
            for class_id, (name, use) in enumerate(zip(class_names, bank.uses, strict=True))
        ],
    }


def load_styles(checkpoint: str | Path) -> StyleBank:
    """Read the style bank of a checkpoint.

    Raises:
        CheckpointError: There is none, it is damaged, or it was made for another encoder, or for
            another number of classes or feature channels.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    folder = Path(checkpoint)
    file, info_file = folder / STYLES_FILE, folder / STYLES_INFO
    again = f"make one with hdsynth styles {folder} --dataset DIR --format FMT"
    if not has_styles(folder):
        read_checkpoint_config(folder)
        raise CheckpointError(f"{folder}: the checkpoint has no style bank; {again}")
    damaged = f"damaged or cut short; {again}"
    try:
        info = json.loads(info_file.read_text(encoding="utf-8"))
        digest, classes = info["sha256"][STYLES_FILE], info["classes"]
        known = (info["format"], info["version"]) == (FORMAT, VERSION)
        uses = tuple(
            ClassUse(row["objects"], row["used_objects"], row["pixels"], row["used_pixels"])
            for row in classes
        )
        fallback = tuple(row["fallback"] for row in classes)
        seed, encoder, provenance = info["seed"], info["encoder_sha256"], info["provenance"]
    except (OSError, ValueError, LookupError, TypeError):
        raise CheckpointError(f"{info_file}: {damaged}") from None
    if not known:
        raise CheckpointError(
            f"{info_file}: {info['format']} version {info['version']}, "
            f"expected {FORMAT} version {VERSION}"
        )
    try:
        content = file.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{file}: {error.strerror or error}; {again}") from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise CheckpointError(f"{file}: its SHA-256 is not the one in {STYLES_INFO}, {damaged}")
    try:
        arrays = load(content)
        bank = StyleBank(
            num_classes=len(arrays["means"]),
            features=arrays["means"].shape[1],
            **arrays,
            fallback=fallback,
            uses=uses,
            seed=seed,
            encoder_sha256=encoder,
            provenance=provenance,
        )
    except (SafetensorError, LookupError, TypeError):
        raise CheckpointError(f"{file}: {damaged}") from None
    _check_fit(folder, bank)
    return bank


def _arrays(bank: StyleBank) -> dict[str, npt.NDArray[Any]]:
    return {name: getattr(bank, name) for name in ("centers", "class_ids", "counts", "means")}


def _check_fit(folder: Path, bank: StyleBank) -> None:
    """Compare a bank with the networks of a checkpoint.

    Raises:
        CheckpointError: They do not go together.
    """
    config = read_checkpoint_config(folder)
    again = f"make one with hdsynth styles {folder} --dataset DIR --format FMT"
    expected = config.sha256.get(ENCODER_FILE)
    if expected is None or bank.encoder_sha256 != expected:
        has = f"has {expected[:12]}" if expected else "has no encoder"
        raise CheckpointError(
            f"{folder}: the style bank is of another encoder ({bank.encoder_sha256[:12]}, and "
            f"{CONFIG_FILE} {has}); {again}"
        )
    wanted = (config.taxonomy.num_classes, config.generator.feature_channels)
    if (bank.num_classes, bank.features) != wanted:
        raise CheckpointError(
            f"{folder}: the style bank has {bank.num_classes} classes and {bank.features} feature "
            f"channels, expected {wanted[0]} and {wanted[1]}; {again}"
        )
