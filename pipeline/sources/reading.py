"""Reading the scenes of a source at the size of a job, the last ones kept in memory."""

from collections import OrderedDict
from time import perf_counter

from pipeline.fit import FitMode, fit
from pipeline.scene import Scene
from pipeline.sources.source import Source
from pipeline.taxonomy import Taxonomy

CACHE_BYTES = 512 << 20


class SceneReader:
    """Reads scenes of a source at the size of the job, keeping the last ones in memory.

    Args:
        source: Where scenes come from.
        taxonomy: Their taxonomy.
        size: Height and width they are fitted to.
        mode: How they are fitted.
        photo: Whether to read their photos too.
        cache_bytes: Size of the scenes to keep; at least two are.
    """

    def __init__(
        self,
        source: Source,
        taxonomy: Taxonomy,
        *,
        size: tuple[int, int],
        mode: FitMode,
        photo: bool = False,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._source = source
        self._taxonomy = taxonomy
        self.size = size
        self._mode = mode
        self._photo = photo
        height, width = size
        scene_bytes = height * width * (taxonomy.label_dtype.itemsize + 4 + 3 * photo)
        self._capacity = max(2, cache_bytes // scene_bytes)
        self._scenes: OrderedDict[str, Scene] = OrderedDict()
        self.seconds = 0.0
        """Time spent reading files so far."""

    def __call__(self, name: str) -> Scene:
        """The maps of a scene and, if asked for, its photo, fitted.

        Raises:
            DatasetError: One of its files cannot be used.
        """
        if name in self._scenes:
            self._scenes.move_to_end(name)
            return self._scenes[name]
        start = perf_counter()
        try:
            scene = self._source.read(name, photo=self._photo)
            scene = fit(scene, self.size, self._mode, taxonomy=self._taxonomy)
        finally:
            self.seconds += perf_counter() - start
        self._scenes[name] = scene
        if len(self._scenes) > self._capacity:
            self._scenes.popitem(last=False)
        return scene


def photo_reader(
    source: Source, taxonomy: Taxonomy, *, size: tuple[int, int], mode: FitMode
) -> SceneReader:
    """A reader of scenes with their photos, for those who keep what they make of them."""
    return SceneReader(source, taxonomy, size=size, mode=mode, photo=True, cache_bytes=0)
