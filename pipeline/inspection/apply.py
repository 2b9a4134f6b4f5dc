"""Applying a program that somebody wrote, or changed, to a scene of a dataset."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from hdmodel.errors import ConfigError
from pipeline.checkpoints import choose_checkpoint
from pipeline.config import GeneratorSettings, RenderConfig
from pipeline.donors.bank import DonorBank, donor_photo_reader
from pipeline.editing.cutout import Cutout, cut_out
from pipeline.editing.operations import Donors
from pipeline.editing.program import Program
from pipeline.editing.recompose import recompose
from pipeline.errors import DatasetError
from pipeline.fit import FitMode
from pipeline.inspection.replay import write_pictures
from pipeline.output.folder import OutputFolder
from pipeline.output.targets import check_new
from pipeline.pictures import draw_map
from pipeline.rendering.generator import GeneratorSpec, open_generator, render_one
from pipeline.sources import DatasetConfig, Source, open_source
from pipeline.sources.reading import SceneReader, photo_reader
from pipeline.styles.style import StyleConfig, check_photos, choose_style


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
    generator: Path | None = None,
    style: StyleConfig | None = None,
    device: str = "auto",
) -> Applied:
    """Apply a program to a scene of a run's dataset, with the run's size, donors and generator.

    Args:
        program: The edits.
        run: The output folder.
        to: A new or empty folder.
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
    checkpoint = generator or choose_checkpoint(config.generator.checkpoint, folder.read_taxonomy())
    return apply_program(
        program,
        # The run's own copy: its file may be gone, and a shipped one may have changed since.
        config.dataset.model_copy(update={"taxonomy": str(folder.taxonomy)}),
        to=to,
        size=config.size,
        fit=config.fit,
        donors=folder.donors,
        generator=config.generator.model_copy(update={"checkpoint": checkpoint, "device": device}),
        style=style or (config.style if generator is None else None),
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
        generator: What renders the edited scene; without it, there is no photo.
        style: The styles of the objects in the photo.
        seed: Of random styles.

    Raises:
        DatasetError: There is no such scene, or one of its files, or of a donor's, is damaged.
        ConfigError: Generator and style do not go together.
        OutputError: `to` holds something.
    """
    check_new(to)
    source = open_source(dataset)
    names = {scene.name for scene in source.scenes}
    if program.scene not in names:
        raise DatasetError(f"{dataset.root}: no scene {program.scene!r} among its {len(names)}")
    size = size or source.read(program.scene, photo=False).size
    read = SceneReader(source, source.taxonomy, size=size, mode=fit)
    scene = read(program.scene)
    bank = None if donors is None else DonorBank.open(donors)
    if bank is not None:
        bank.check_fits(size=size, taxonomy=source.taxonomy)
        find: Donors = bank.cutout
    else:
        for name in program.donors:
            if name not in names:
                raise DatasetError(f"{dataset.root}: no donor scene {name!r}")
        find = scene_donors(read)
    made = recompose(program, scene, find, taxonomy=source.taxonomy)
    photo = None
    if generator is not None:
        spec = _generator_spec(
            program,
            source,
            generator,
            photos=photo_reader(source, source.taxonomy, size=size, mode=fit),
            bank=bank,
            style=style,
            seed=seed,
        )
        with open_generator(spec) as opened:
            photo = render_one(made, opened)
    to.mkdir(parents=True, exist_ok=True)
    names_written = write_pictures(to, scene, made, photo, source.taxonomy)
    colors = source.taxonomy.colors
    for name, maps, changed in (
        ("before", scene, None),
        ("after", made.scene, made.changed),
    ):
        picture = draw_map(maps.label, maps.instance, colors, changed=changed)
        Image.fromarray(picture).save(to / f"{name}.png")
    text = json.dumps(program.to_plain(), indent=2, ensure_ascii=False)
    (to / "program.json").write_text(text + "\n", encoding="utf-8")
    record = {
        "scene": program.scene,
        "instances": [asdict(item) for item in made.instances],
        "events": [asdict(event) for event in made.log],
    }
    text = json.dumps(record, indent=2, ensure_ascii=False)
    (to / "record.json").write_text(text + "\n", encoding="utf-8")
    files = [*names_written, "before.png", "after.png", "program.json", "record.json"]
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
    )


def _generator_spec(
    program: Program,
    source: Source,
    settings: GeneratorSettings,
    *,
    photos: SceneReader,
    bank: DonorBank | None,
    style: StyleConfig | None,
    seed: int,
) -> GeneratorSpec:
    """The generator for a program, after checking that what its style needs is there."""
    checkpoint = choose_checkpoint(settings.checkpoint, source.taxonomy)
    chosen = choose_style(style, checkpoint, taxonomy=source.taxonomy, seed=seed)
    donor_photos = None
    if chosen is not None and chosen.reads_photos:
        check_photos(source, {program.scene}, photos="auto")
        check_photos(source if bank is None else bank.open_source(), program.donors, photos="auto")
        donor_photos = None if bank is None else donor_photo_reader(bank)
    return GeneratorSpec(checkpoint, settings, chosen, photos, donor_photos)
