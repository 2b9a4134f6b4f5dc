"""The page about a training."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from hdmodel.errors import ConfigError, InputError
from hdmodel.training.report import encode, write_report

CONFIG = {
    "taxonomy": {"name": "toy", "class_names": ["void", "red", "green"]},
    "config": {
        "dataset": {"format": "folders", "root": "/data/<toy>", "size": [48, 64]},
        "generator": {"architecture": "local"},
        "discriminator": {"scales": 2},
        "losses": {"adversarial": "lsgan", "feature_matching": 10.0, "perceptual": 0.0},
        "stages": [{"name": "coarse", "steps": 4}, {"name": "joint", "steps": 6}],
        "seed": 0,
    },
}
HEAD = "step,stage,adversarial,discriminator_real,discriminator_fake,novel_term,learning_rate,"
METRICS = f"""{HEAD}seconds_per_step,validation_l1
2,coarse,0.5,0.6,0.4,9,0.0002,2,
4,coarse,0.7,0.5,0.3,8,0.0001,1.5,33.25
6,joint,0.9,0.4,0.2,7,0.0002,2,31.5
8,joint,1.1,0.3,0.1,6,0.0001,3,32.75
"""


class Page(HTMLParser):
    """The tags and texts of a page, and whether it is closed as it should be."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(self.source)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        return [a for name, a in self.tags if name == tag and attributes.items() <= a.items()]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    root = tmp_path / "my run"
    (root / "samples").mkdir(parents=True)
    (root / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    (root / "metrics.csv").write_text(METRICS)
    for step in (1, 2, 4, 6, 8):
        Image.new("RGB", (30, 20), (20 * step, 0, 0)).save(root / f"samples/step-{step:07d}.png")
    (root / "checkpoints/step-0000006").mkdir(parents=True)
    (root / "best").symlink_to("checkpoints/step-0000006")
    return root


def test_the_page_stands_alone(out: Path) -> None:
    path = write_report(out)
    page = Page(path)
    assert path == out / "report.html"
    assert not page.all("script")
    assert not page.all("link")
    assert all(str(image["src"]).startswith("data:image/jpeg;base64,") for image in page.all("img"))
    assert not re.search(r"https?://|url\(|@import", page.source)
    assert sorted(entry.name for entry in out.iterdir()) == sorted(
        ["best", "checkpoints", "config.yaml", "metrics.csv", "report.html", "samples"]
    )


def test_its_head_says_what_was_trained(out: Path) -> None:
    text = Page(write_report(out, facts={"generator": "1.8 M parameters"})).text
    flat = " ".join(text.split())
    assert "my run" in flat
    assert "steps 8 of 10" in flat
    assert "time 17 s" in flat  # 2 steps each of 2, 1.5, 2 and 3 seconds
    assert "dataset /data/<toy> (folders)" in flat
    assert "size 48 x 64" in flat
    assert "classes toy, 3" in flat
    assert "losses adversarial lsgan, feature matching 10.0 seed 0" in flat
    assert "generator 1.8 M parameters" in flat
    assert "stage coarse steps 1 to 4 stage joint steps 5 to 8" in flat


def test_every_loss_has_a_curve(out: Path) -> None:
    page = Page(write_report(out))
    titles = [str(svg["aria-label"]).removesuffix(" over the steps") for svg in page.all("svg")]
    assert titles == [
        *("adversarial", "discriminator", "novel term"),
        *("validation", "learning rate", "seconds per step"),
    ]
    # One line each, but two of the discriminator, each in two strokes: one per stage.
    curves = [str(path["d"]) for path in page.all("path")]
    assert [curve.count("M") for curve in curves] == [2] * 7
    assert "best: 31.5 at step 6" in page.text
    assert len(page.all("circle")) == 1


def test_the_level_of_balance_is_that_of_the_loss(out: Path) -> None:
    assert Page(write_report(out)).text.count("Dotted: 0.5,") == 2  # 2 scales of 0.25
    changed = CONFIG["config"] | {"losses": {"adversarial": "bce"}}
    (out / "config.yaml").write_text(yaml.safe_dump(CONFIG | {"config": changed}))
    assert Page(write_report(out)).text.count("Dotted: 1.39,") == 2  # 2 scales of ln 2


def test_the_table_holds_the_end_of_each_stage(out: Path) -> None:
    page = Page(write_report(out))
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', page.source)
    table = {name: re.findall(r"<td>(.*?)</td>", cells) for name, cells in rows}
    assert table == {
        "adversarial": ["0.7", "1.1"],
        "discriminator real": ["0.5", "0.3"],
        "discriminator fake": ["0.3", "0.1"],
        "novel term": ["8", "6"],
        "validation error": ["33.25", "32.75"],
    }


def test_the_newest_pictures_and_the_first_are_shown(out: Path) -> None:
    (out / "samples/step-0000006.png").write_bytes(b"\x89PNG cut short")
    page = Page(write_report(out))
    shown = []
    for image in page.all("img"):
        data = base64.b64decode(str(image["src"]).partition(",")[2])
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.size == (30, 20) == (int(image["width"] or 0), int(image["height"] or 0))
            red = picture.getpixel((5, 5))
        shown.append((re.findall(r"\d+", str(image["alt"]))[0], round(red[0] / 20)))  # type: ignore[index]
    assert shown == [("8", 8), ("4", 4), ("1", 1)]
    assert "step 1, the first sheet" in page.text


def test_a_single_sheet_is_shown_once(out: Path) -> None:
    for step in (1, 2, 4, 6):
        (out / f"samples/step-{step:07d}.png").unlink()
    page = Page(write_report(out))
    assert len(page.all("img")) == 1
    assert "the first sheet" not in page.text


def test_a_training_that_has_just_begun_has_a_page(out: Path) -> None:
    (out / "best").unlink()
    (out / "metrics.csv").write_text(METRICS.splitlines()[0] + "\n")
    page = Page(write_report(out))
    assert "No step was logged yet." in page.text
    (out / "metrics.csv").write_text("\n".join(METRICS.splitlines()[:2]) + "\n")
    page = Page(write_report(out))
    assert len(page.all("svg")) == 5  # nothing was validated
    assert not page.all("circle")


def test_what_somebody_else_put_there_is_left_out(out: Path) -> None:
    edited = METRICS.replace("0.9,0.4,0.2,7", "0.9,0.4,n/a,7") + "9,,1,1,1,1,1,1,1\n"
    (out / "metrics.csv").write_text(edited)
    (out / "samples/step-8-mine.png").write_bytes((out / "samples/step-0000008.png").read_bytes())
    (out / "best").unlink()
    (out / "best").symlink_to("samples")
    page = Page(write_report(out))
    assert "steps 8 of 10" in " ".join(page.text.split())
    assert [len(re.findall(r"-?[\d.]+ [\d.]+", str(path["d"]))) for path in page.all("path")] == [
        *(4, 4, 3, 4),  # of the discriminator on rendered photos one is no number
        *(3, 4, 4),
    ]
    assert [re.findall(r"\d+", str(image["alt"])) for image in page.all("img")] == [
        *(["8"], ["6"], ["4"], ["1"]),
    ]
    assert not page.all("circle")


def test_pictures_are_made_smaller_until_they_fit() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (512, 1024, 3)).astype(np.uint8)
    data, (width, height) = encode(Image.fromarray(noise), most=100_000)
    assert len(data) <= 100_000
    assert 320 <= width < 1024
    assert height == width // 2
    assert encode(Image.fromarray(noise), most=10_000_000)[1] == (1024, 512)


def test_what_is_no_training_is_refused(tmp_path: Path, out: Path) -> None:
    with pytest.raises(InputError, match=r"holds no training, expected config\.yaml in it"):
        write_report(tmp_path)
    (out / "config.yaml").write_text("[1")
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        write_report(out)
