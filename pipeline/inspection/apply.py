"""Applying a program that somebody wrote, or changed, to a scene of a dataset."""

import json
import os
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from hdmodel.errors import ConfigError
from pipeline.checkpoints import choose_checkpoint
from pipeline.config import GeneratorSettings, PhotoConfig, RenderConfig
from pipeline.donors.bank import DonorBank, donor_photo_reader
from pipeline.editing.cutout import Cutout, cut_out
from pipeline.editing.operations import Donors
from pipeline.editing.program import ChangeClass, Program
from pipeline.editing.recompose import recompose
from pipeline.errors import DatasetError
from pipeline.exemplars.catalogue import Catalogue
from pipeline.fit import FitMode
from pipeline.indexing.index import index_scenes
from pipeline.indexing.record import index_scene
from pipeline.inspection.files import draw_maps, json_text, write_pictures, write_texts
from pipeline.output.folder import OutputFolder
from pipeline.output.manifest import PixelShares
from pipeline.output.targets import check_new
from pipeline.rendering.composer import Composer, make_composer, open_exemplars
from pipeline.rendering.composite import Composite
from pipeline.rendering.photo import finish_photo
from pipeline.rendering.shown import check_shown
from pipeline.scene import Scene
from pipeline.sources import DatasetConfig, Source, open_source
from pipeline.sources.photos import names_with_photos
from pipeline.sources.reading import SceneReader, photo_reader
from pipeline.styles.style import StyleConfig, check_photos, choose_style
from pipeline.taxonomy import Taxonomy

if TYPE_CHECKING:
    from pipeline.rendering.generator import GeneratorSpec


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of applying a program."""

    scene: str
    to: Path
    operations: int
    skipped: tuple[str, ...]
    """Of each operation that was left out: its number, from 1, and why."""
    consequences: tuple[str, ...]
    """What the edits hid, cropped or made too small."""
    objects: int
    """In the edited scene."""
    files: tuple[str, ...]
    """Names of the files in `to`."""
    pixels: PixelShares | None
    """Where the pixels of the photo come from, unless a generator rendered all or there is none."""


def read_program(path: Path, *, scene: str | None = None) -> Program:
    """Read a program from a JSON file.

    Args:
        path: The file.
        scene: The scene to apply it to, instead of the one that it names.

    Raises:
        ConfigError: The file cannot be read, or does not hold a program.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: expected a program in JSON ({error})") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected a program in JSON, got {type(data).__name__}")
    return Program.parse(data | ({"scene": scene} if scene is not None else {}), origin=str(path))


def scene_donors(read: SceneReader) -> Donors:
    """Donors cut out of the scenes of a dataset."""

    def find(name: str, instance: int) -> Cutout:
        return cut_out(read(name).instance, instance)

    return find


def apply_to_run(
    program: Program,
    run: Path,
    *,
    to: Path,
    photo: str | None = None,
    generator: Path | None = None,
    style: StyleConfig | None = None,
    device: str = "auto",
) -> Applied:
    """Apply a program to a scene of a run, with its size, donors, photo settings and generator.

    Args:
        program: The edits.
        run: The output folder.
        to: A new or empty folder.
        photo: Mode of the photo, in place of the run's.
        generator: Checkpoint that renders in place of the run's.
        style: The styles of the objects in the photo, in place of the run's setting.
        device: Where the photo is rendered.

    Raises:
        OutputError: The folder is not an output of hdsynth, or `to` holds something.
        InputError: As `apply_program`.
    """
    folder = OutputFolder(run)
    record = folder.read_config()
    config = RenderConfig.parse(record["config"], origin=str(folder.config))
    # The run's own copy: its file may be gone, and a shipped one may have changed since.
    taxonomy = {"taxonomy": str(folder.taxonomy)}
    changes: dict[str, Any] = {} if photo is None else {"mode": photo}
    if config.photo.exemplars:
        changes["exemplars"] = config.photo.exemplars | taxonomy
    asked = PhotoConfig.parse(config.photo.to_plain() | changes, origin="photo")
    checkpoint = generator or config.generator.checkpoint
    settings = None
    if checkpoint is not None or not asked.is_copied:
        update = {"checkpoint": checkpoint, "device": device}
        settings = config.generator.model_copy(update=update)
        style = style or (config.style if generator is None else None)
    return apply_program(
        program,
        config.dataset.model_copy(update=taxonomy),
        to=to,
        size=config.size,
        fit=config.fit,
        donors=folder.donors,
        photo=asked,
        catalogue=folder.exemplars if config.photo.is_copied else None,
        generator=settings,
        style=style,
        seed=config.seed,
    )


def apply_program(
    program: Program,
    dataset: DatasetConfig,
    *,
    to: Path,
    size: tuple[int, int] | None,
    fit: FitMode,
    donors: Path | None = None,
    photo: PhotoConfig | None = None,
    catalogue: Path | None = None,
    generator: GeneratorSettings | None = None,
    style: StyleConfig | None = None,
    seed: int = 0,
) -> Applied:
    """Apply a program to its scene and write what comes out, as pictures and as maps.

    Args:
        program: The edits.
        dataset: Where the scene is and, without `donors`, the objects that are pasted.
        to: A new or empty folder.
        size: Height and width in pixels that scenes are fitted to; as the scene is, if none.
        fit: How.
        donors: Folder of a donor bank of that size, instead.
        photo: Where the pixels of the photo come from; by default all from the generator, and
            there is no photo without one.
        catalogue: File of the catalogue of the scenes that pixels are copied from; made when it is
            needed, if none.
        generator: What renders the edited scene, or draws what no photo shows.
        style: The styles of the objects in the photo.
        seed: Of random styles, and of what is tried when holes are filled.

    Raises:
        DatasetError: There is no such scene, or one of its files, or of a donor's or an exemplar's,
            is missing or damaged.
        ConfigError: Generator and style do not go together, or what the program or the settings ask
            for needs a generator, and there is none.
        OutputError: `to` holds something, or the catalogue cannot be read.
    """
    check_new(to)
    if photo is None and generator is not None:
        photo = PhotoConfig()
    if generator is None:
        _check_without_generator(program, photo, style)
    scenes = _Scenes.open(program, dataset, size=size, fit=fit, donors=donors)
    spec = None if generator is None else _generator_spec(scenes, generator, style, seed=seed)
    read = scenes.reader(photo=photo is not None and photo.is_composite)
    composite = None
    if photo is None or not photo.is_copied:
        donor_shapes = scenes.donors(read, copied=False)
        made = recompose(program, read(program.scene), donor_shapes, taxonomy=scenes.taxonomy)
    else:
        composer = _composer(
            scenes, photo, read, catalogue=catalogue, generator=spec is not None, seed=seed
        )
        made, composite = composer.compose(program, index=0)
        if spec is None:
            _check_complete(composite, made.scene, scenes.taxonomy)
    finished = None if photo is None else finish_photo(made, composite, spec)
    pixel_source = None if finished is None else finished.source
    pixels = None if pixel_source is None else PixelShares.of(pixel_source)
    record = {
        "scene": program.scene,
        "instances": [asdict(item) for item in made.instances],
        "events": [asdict(event) for event in made.log],
        "pixels": None if pixels is None else asdict(pixels),
        "exemplars": [] if composite is None else composite.exemplars,
    }
    texts = {"program.json": json_text(program.to_plain()), "record.json": json_text(record)}
    write_texts(to, texts)
    files = [*texts, *draw_maps(to, read(program.scene), made, scenes.taxonomy)]
    files += write_pictures(to, read(program.scene), made, finished, scenes.taxonomy)
    return Applied(
        scene=program.scene,
        to=to,
        operations=len(program.operations),
        skipped=tuple(
            f"operation {(event.operation or 0) + 1}: {event.reason}"
            for event in made.log
            if event.kind == "skipped"
        ),
        consequences=tuple(
            f"object {event.instance} {event.kind.replace('_', ' ')}: {event.reason}"
            for event in made.log
            if event.kind != "skipped"
        ),
        objects=len(made.instances),
        files=tuple(sorted(files)),
        pixels=pixels,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Scenes:
    """The scenes that a program is applied with, at one size."""

    program: Program
    dataset: DatasetConfig
    source: Source
    size: tuple[int, int]
    """Height and width in pixels."""
    fit: FitMode
    bank: DonorBank | None
    """Gives the donors; without one, the source does."""

    @classmethod
    def open(
        cls,
        program: Program,
        dataset: DatasetConfig,
        *,
        size: tuple[int, int] | None,
        fit: FitMode,
        donors: Path | None,
    ) -> Self:
        """Open dataset and donors, and check that the program's are among them."""
        source = open_source(dataset)
        names = {scene.name for scene in source.scenes}
        if program.scene not in names:
            raise DatasetError(f"{dataset.root}: no scene {program.scene!r} among its {len(names)}")
        size = size or source.read(program.scene, photo=False).size
        bank = None
        if donors is not None:
            bank = DonorBank.open(donors)
            bank.check_fits(size=size, taxonomy=source.taxonomy)
        elif unknown := sorted(set(program.donors) - names):
            raise DatasetError(f"{dataset.root}: no donor scene {unknown[0]!r}")
        return cls(program, dataset, source, size, fit, bank)

    @property
    def taxonomy(self) -> Taxonomy:
        """The taxonomy of all scenes."""
        return self.source.taxonomy

    def reader(self, *, photo: bool, source: Source | None = None) -> SceneReader:
        """A reader of the scenes, or of those of another source, with photos or without."""
        return SceneReader(
            source or self.source, self.taxonomy, size=self.size, mode=self.fit, photo=photo
        )

    def donors(self, read: SceneReader, *, copied: bool) -> Donors:
        """Finds the shapes of donors, for copied photos as far as they are seen.

        They are in the bank, else in the scenes.
        """
        if self.bank is None:
            return scene_donors(read)
        return self.bank.seen if copied else self.bank.cutout

    def donor_photos(self) -> SceneReader | None:
        """A reader of the scenes of the bank's donors, with photos."""
        return None if self.bank is None else donor_photo_reader(self.bank)

    def check_photos(self, need: Literal["style source", "photo composite"]) -> None:
        """Check that the scene of the program and those of its donors have photos."""
        check_photos(self.source, {self.program.scene}, photos=self.dataset.photos, need=need)
        donors = self.source if self.bank is None else self.bank.open_source()
        check_photos(donors, self.program.donors, photos="auto", need=need)


def _check_without_generator(
    program: Program, photo: PhotoConfig | None, style: StyleConfig | None
) -> None:
    """Check that nothing is asked for that only a generator can do.

    Raises:
        ConfigError: It is.
    """
    need = None if photo is None else photo.needs_generator()
    if style is not None:
        need = f"style {style.text()}"
    elif need is None and photo is not None and photo.is_composite:
        changes = [n for n, o in enumerate(program.operations, 1) if isinstance(o, ChangeClass)]
        if changes:
            need = f"operation {changes[0]} makes an object another class (change_class), which"
    if need is not None:
        raise ConfigError(f"{need} needs a generator; give one (--generator CKPT)")


def _generator_spec(
    scenes: _Scenes, settings: GeneratorSettings, style: StyleConfig | None, *, seed: int
) -> "GeneratorSpec":
    """The generator for a program, after checking that what its style needs is there."""
    from pipeline.rendering.generator import GeneratorSpec

    checkpoint = choose_checkpoint(settings.checkpoint, scenes.taxonomy)
    chosen = choose_style(style, checkpoint, taxonomy=scenes.taxonomy, seed=seed)
    if chosen is None or not chosen.reads_photos:
        return GeneratorSpec(checkpoint, settings, chosen)
    scenes.check_photos("style source")
    photos = photo_reader(scenes.source, scenes.taxonomy, size=scenes.size, mode=scenes.fit)
    return GeneratorSpec(checkpoint, settings, chosen, photos, scenes.donor_photos())


def _composer(
    scenes: _Scenes,
    photo: PhotoConfig,
    read: SceneReader,
    *,
    catalogue: Path | None,
    generator: bool,
    seed: int,
) -> Composer:
    """What composes the photo, after checking that the photos are there that it needs."""
    if photo.is_composite:
        scenes.check_photos("photo composite")
    exemplars = scenes.source
    if photo.exemplars or not photo.is_composite:
        exemplars = open_exemplars(photo, scenes.dataset, scenes.source)
    return make_composer(
        photo,
        scenes.donors(read, copied=True),
        read,
        read_donors=scenes.donor_photos(),
        read_exemplars=scenes.reader(photo=True, source=exemplars),
        catalogue=partial(_catalogue, scenes, photo, exemplars, catalogue, generator=generator),
        taxonomy=scenes.taxonomy,
        generator=generator,
        seed=seed,
        threads=os.cpu_count() or 1,
    )


def _catalogue(
    scenes: _Scenes, photo: PhotoConfig, exemplars: Source, path: Path | None, *, generator: bool
) -> Catalogue:
    """The catalogue in a file, or one made of the scenes with photos.

    Raises:
        ConfigError: All pixels are to be from other scenes, and these do not show what is needed.
    """
    if path is not None:
        found = Catalogue.open(path)
    else:
        names = names_with_photos(exemplars)
        found = Catalogue.of(index_scenes(exemplars, names, size=scenes.size, mode=scenes.fit))
    if not photo.is_composite:
        scene = scenes.reader(photo=False)(scenes.program.scene)
        sample = scenes.program, index_scene(scene, scenes.taxonomy)
        check_shown([sample], found, photo=photo, generator=generator, taxonomy=scenes.taxonomy)
    return found


def _check_complete(composite: Composite, scene: Scene, taxonomy: Taxonomy) -> None:
    """Check that nothing is left to be drawn.

    Raises:
        ConfigError: The scene shows something that is in no photo.
    """
    missing = composite.missing
    if missing.any():
        names = ", ".join(taxonomy.class_names[c] for c in np.unique(scene.label[missing]))
        raise ConfigError(
            f"scene {scene.name!r}: {np.count_nonzero(missing)} of {missing.size} pixels ({names}) "
            "are in no photo, and there is no generator; give one (--generator CKPT)"
        )
