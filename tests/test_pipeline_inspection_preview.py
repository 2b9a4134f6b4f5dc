import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from hdsynth.commands.output import preview as preview_command
from pipeline.editing.program import Drop, Flip, MirrorScene, Move, Paste, Program, Replace
from pipeline.errors import OutputError
from pipeline.inspection.captions import describe
from pipeline.inspection.preview import choose_samples, write_preview
from pipeline.output.folder import OutputFolder
from pipeline.taxonomy import Taxonomy
from tests.datasets import stem
from tests.outputs import make_run


class Page(HTMLParser):
    """What a browser would find on the page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.folder = path.parent
        self.sources: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.samples = 0
        self.words: list[str] = []
        self.feed(path.read_text("utf-8"))
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.sources += [values["src"]] if "src" in values else []
        self.links += [values["href"]] if "href" in values else []
        self.ids += [values["id"]] if "id" in values else []
        self.targets += [values["popovertarget"]] if "popovertarget" in values else []
        self.samples += tag == "article"
        assert tag != "script"

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> OutputFolder:
    return make_run(
        tmp_path_factory.mktemp("run"), samples=8, failed={1: "read", 2: "render"}, uncommitted=(3,)
    )


@pytest.fixture(scope="module")
def page(out: OutputFolder, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return Page(write_preview(out.root, tmp_path_factory.mktemp("preview") / "page"))


def test_every_picture_is_there_and_nothing_from_elsewhere(page: Page) -> None:
    assert page.samples == 6
    files = {source for source in page.sources if source}
    for file in files:
        with Image.open(page.folder / file) as image:
            assert image.width >= 64
    assert {f"images/{p.name}" for p in (page.folder / "images").iterdir()} == files
    assert page.links == []
    assert "http" not in (page.folder / "index.html").read_text("utf-8")
    # Per sample three pictures, less the edited map and photo of 1 and the photo of 2.
    assert len(files) == 3 * 6 - 3


def test_every_zoom_has_its_target(page: Page) -> None:
    assert len(page.ids) == len(set(page.ids))
    assert set(page.targets) <= set(page.ids)
    assert len(page.targets) == 2 * len([i for i in page.ids if i.startswith("zoom-")])


def test_it_says_what_was_done_and_what_failed(page: Page) -> None:
    for words in (
        "mirrored left to right",
        "removed car 26000",
        "moved person 24000 5 px left and 1 px down",
        f"pasted car from scene {stem(2)}, at 125%, mirrored",
        "no edits",
        "left out: the scene has no object 26999",
        f"failed while it was read: {stem(1)}: <made up> for a test",
        f"failed while it was rendered: {stem(2)}",
        "not made, only planned:",
        "4 good, 2 failed, 2 to come",
        "cityscapes, 35 classes",
        "32 x 64",
    ):
        assert words in page.text, words
    source = (page.folder / "index.html").read_text("utf-8")
    assert "<made up>" not in source


def test_the_legend_names_the_classes_shown(page: Page) -> None:
    legend = page.text.split("changed by the edits")[1].split("sample")[0]
    assert legend.split() == ["road", "sky", "building", "car", "person"]


def test_the_pictures_are_the_samples(out: OutputFolder, page: Page) -> None:
    import zarr

    group = zarr.open_group(out.data, mode="r")
    colors = Taxonomy.load("cityscapes").colors
    with Image.open(page.folder / "images" / "00000000-edited.png") as image:
        drawn = np.asarray(image)
    # Nothing was edited in sample 0: apart from object outlines, every block is one class colour.
    centres = drawn[5::10, 5::10]
    expected = colors[group["label"][0]]
    inside = (centres == expected).all(axis=2)
    assert inside.all()
    with Image.open(page.folder / "images" / "00000000-photo.jpg") as image:
        assert image.size == (64, 32)


def test_changes_are_outlined_with_and_without_the_dataset(tmp_path: Path) -> None:
    out = make_run(tmp_path, samples=6)
    with_source = write_preview(out.root, tmp_path / "one").parent
    shutil.rmtree(tmp_path / "world")
    without = write_preview(out.root, tmp_path / "two").parent

    def white(folder: Path, index: int) -> int:
        with Image.open(folder / "images" / f"{index:08d}-edited.png") as image:
            return int((np.asarray(image) == 255).all(axis=2).sum())

    assert white(with_source, 0) == 0
    assert white(with_source, 2) > 0  # an object taken out: only the source knows
    assert white(with_source, 4) > 0
    assert white(without, 4) > 0  # an object pasted: the record knows
    text = Page(without / "index.html").text
    assert "The source labels cannot be shown" in text
    assert "world" in text
    assert not list((without / "images").glob("*-source.png"))


def test_damaged_pixels_are_a_note_and_not_an_error(tmp_path: Path) -> None:
    out = make_run(tmp_path, samples=2)
    path = out.data / "photo" / "c" / "0" / "0" / "0" / "0"
    path.write_bytes(path.read_bytes()[:40])
    page = Page(write_preview(out.root, tmp_path / "page"))
    assert "damaged, see hdsynth verify" in page.text


def test_an_earlier_preview_is_replaced_and_nothing_else(out: OutputFolder, tmp_path: Path) -> None:
    write_preview(out.root, tmp_path / "page", samples=6)
    page = Page(write_preview(out.root, tmp_path / "page", samples=2))
    assert page.samples == 2
    assert len(list((tmp_path / "page" / "images").iterdir())) < 7
    (tmp_path / "page" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"holds 'notes\.txt'"):
        write_preview(out.root, tmp_path / "page")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "index.html").write_text("<p>mine</p>")
    with pytest.raises(OutputError, match=r"index\.html"):
        write_preview(out.root, mine)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "page"]


def test_a_linked_folder_is_written_through_its_link(out: OutputFolder, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real")
    for samples in (2, 1):
        assert write_preview(out.root, link, samples=samples) == link / "index.html"
    assert link.is_symlink()
    assert Page(tmp_path / "real" / "index.html").samples == 1
    with pytest.raises(OutputError, match="it is a file"):
        write_preview(out.root, link / "index.html")


def test_a_config_with_missing_keys_is_no_obstacle(tmp_path: Path) -> None:
    out = make_run(tmp_path, samples=2)
    record = yaml.safe_load(out.config.read_text())
    for key in ("dataset", "generator", "recompose", "seed"):
        del record["config"][key]
    record["identity"] = {}
    out.config.write_text(yaml.safe_dump(record))
    page = Page(write_preview(out.root, tmp_path / "page"))
    assert page.samples == 2
    assert "32 x 64" in page.text


def test_a_run_without_samples_is_refused(tmp_path: Path) -> None:
    out = make_run(tmp_path, samples=2, uncommitted=(0,))
    with pytest.raises(OutputError, match="nothing to show"):
        write_preview(out.root, tmp_path / "page")
    assert not (tmp_path / "page").exists()


def test_samples_are_spread_and_failed_ones_have_a_place() -> None:
    good, failed = list(range(0, 1000, 2)), list(range(1, 1000, 2))
    chosen = choose_samples(good, failed, count=24)
    assert len(chosen) == len(set(chosen)) == 24
    assert sum(index % 2 for index in chosen) == 6
    assert chosen == sorted(chosen)
    assert max(chosen) > 900
    assert len(choose_samples(good[:3], failed, count=8)) == 8
    assert choose_samples([4, 5], [], count=24) == [4, 5]
    assert choose_samples([], [3], count=1) == [3]
    assert choose_samples(good, [], count=1) == [0]


def test_every_operation_and_event_has_words() -> None:
    program = Program(
        scene="a",
        operations=(
            MirrorScene(),
            Drop(instance=24001),
            Move(instance=26002, rows=0, columns=0),
            Move(instance=26002, rows=-3, columns=2),
            Paste(donor="b", donor_instance=33000, row=1, column=1),
            Flip(instance=25001, along=(33002,)),
            Replace(instance=26002, donor="b", donor_instance=25000, donor_along=(33000,), scale=2),
        ),
    )
    events = [
        {"kind": "skipped", "operation": 1, "instance": 24001, "reason": "why"},
        {"kind": "hidden", "operation": None, "instance": 26002, "reason": "covered by the edits"},
        {"kind": "removed_small", "operation": None, "instance": 26003, "reason": "2 px visible"},
        {"kind": "kept_small", "operation": None, "instance": 26004, "reason": "2 px visible"},
    ]
    edits, consequences = describe(
        json.loads(program.model_dump_json()), events, Taxonomy.load("cityscapes")
    )
    assert [edit.text for edit in edits] == [
        "mirrored left to right",
        "removed person 24001",
        "moved car 26002 nowhere",
        "moved car 26002 2 px right and 3 px up",
        "pasted bicycle from scene b",
        "mirrored rider 25001 and bicycle 33002",
        "replaced car 26002 by rider and bicycle from scene b, at 200%",
    ]
    assert [edit.skipped for edit in edits] == [None, "why", *[None] * 5]
    assert consequences == (
        "car 26002 is gone: covered by the edits",
        "car 26003 was taken out: 2 px visible",
        "car 26004 was left in: 2 px visible",
    )


def test_the_command_prints_the_page(out: OutputFolder, tmp_path: Path) -> None:
    arguments = [str(out.root), "--to", str(tmp_path / "page"), "--samples", "3"]
    result = CliRunner().invoke(preview_command, arguments)
    assert result.exit_code == 0
    assert Path(result.stdout.strip()) == tmp_path / "page" / "index.html"
    assert "drawing samples: 3/3" in result.stderr
    assert Page(tmp_path / "page" / "index.html").samples == 3


def test_photos_of_other_runs_stand_beside(tmp_path: Path) -> None:
    one, two = (make_run(tmp_path / name, failed={}) for name in ("one", "two"))
    page = Page(write_preview(one.root, tmp_path / "page", beside=[two.root]))
    assert len([s for s in set(page.sources) if "-photo-1.jpg" in s]) == 6
    assert "rendered photo (two/out)" in page.text


def test_what_another_run_lacks_is_said(tmp_path: Path) -> None:
    one = make_run(tmp_path / "one")
    two = make_run(tmp_path / "two", failed={1: "render"}, uncommitted=(1,))
    first = two.manifest(2)
    rows = pq.read_table(first).to_pylist()
    rows[0]["label_sha256"] = "0" * 64
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(first)), first)
    page = Page(write_preview(one.root, tmp_path / "page", beside=[two.root]))
    assert page.text.count("not made") == 3  # a failed sample, and two of a shard to come
    assert page.text.count("its labels are others") == 1


def test_samples_that_could_not_be_read_are_nothing_in_common(tmp_path: Path) -> None:
    """They have no maps, and so the same ones."""
    one = make_run(tmp_path / "one", samples=2, failed={1: "read"})
    two = make_run(tmp_path / "two", samples=2, failed={1: "read"})
    manifest = two.manifest(0)
    rows = pq.read_table(manifest).to_pylist()
    rows[0]["label_sha256"] = "0" * 64
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(manifest)), manifest)
    with pytest.raises(OutputError, match="has no sample with the label map"):
        write_preview(one.root, tmp_path / "page", beside=[two.root])


def test_a_run_with_other_labels_is_refused(out: OutputFolder, tmp_path: Path) -> None:
    one = make_run(tmp_path / "one", samples=2)
    manifest = one.manifest(0)
    rows = [row | {"instance_sha256": "0" * 64} for row in pq.read_table(manifest).to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(manifest)), manifest)
    with pytest.raises(OutputError, match=r"one/out: has no sample with the label map that"):
        write_preview(out.root, tmp_path / "page", beside=[one.root])
    assert not (tmp_path / "page").exists()


def test_beside_is_not_for_audits(out: OutputFolder, tmp_path: Path) -> None:
    options = [str(out.root), "--to", str(tmp_path), "--audit", "3", "--beside", str(out.root)]
    result = CliRunner().invoke(preview_command, options)
    assert result.exit_code == 2
    assert "give either --beside or --audit" in result.output
