"""Opening a dataset from its configuration."""

from dataclasses import replace

from hdmodel.errors import ConfigError
from pipeline.errors import DatasetError, TaxonomyError
from pipeline.sources.config import ZARR_FORMAT, DatasetConfig
from pipeline.sources.files import FileSource
from pipeline.sources.layouts import IMAGE_SUFFIXES, LAYOUTS, Layout, Role
from pipeline.sources.listing import Tree, list_scenes
from pipeline.sources.root import Root
from pipeline.sources.selection import select_scenes
from pipeline.sources.source import Source
from pipeline.sources.zarr_output import open_zarr
from pipeline.taxonomy import Taxonomy


def open_source(config: DatasetConfig) -> Source:
    """List a dataset's scenes; no pixels are read yet.

    Raises:
        DatasetError: The root, the split or a folder is missing or empty, or names clash.
        TaxonomyError: The taxonomy is unknown, missing or not that of the data.
        ConfigError: The keys do not go together.
    """
    tree = Tree(Root.open(config.root))
    if config.format == ZARR_FORMAT:
        return _open_zarr(tree, config)
    layout = configured_layout(config)
    name = config.taxonomy or layout.taxonomy
    if name is None:
        raise TaxonomyError(
            f"dataset format {config.format!r} needs a taxonomy: a shipped name or a YAML file"
        )
    taxonomy = Taxonomy.load(name)
    instances = config.instances or ("files" if layout.instance else "none")
    if instances == "files" and layout.instance is None:
        raise ConfigError(
            f"instances: files, but the format {config.format!r} has no instance maps; "
            "set instance_dir, or use components or none"
        )
    if instances != "files":
        layout = replace(layout, instance=None)
    if config.photos == "none":
        layout = replace(layout, photo=None)
    elif config.photos == "required" and layout.photo is None:
        raise ConfigError("photos: required, but there is no photo_dir")
    listing = list_scenes(tree, layout, config.split)
    for key, role, found in (
        ("instance_dir", config.instance_dir, any(s.instance for s in listing.scenes)),
        ("photo_dir", config.photo_dir, any(s.photo for s in listing.scenes)),
    ):
        kind = key.removesuffix("_dir")
        if role is not None and kind in layout.roles and not found:
            raise DatasetError(
                f"{tree.root}: {key} {role!r} holds no file that belongs to a label map "
                f"(first label map: {listing.scenes[0].label})"
            )
    return FileSource(
        root=tree.root,
        taxonomy=taxonomy,
        scenes=select_scenes(listing.scenes, config, where=str(tree.root)),
        orphans=listing.orphans,
        instances=instances,
        instance_coding=config.instance_coding or layout.instance_coding,
        photos=config.photos,
        min_component_area=config.min_component_area,
    )


def configured_layout(config: DatasetConfig) -> Layout:
    """The format's layout with the keys of the configuration in place of its own."""
    layout = LAYOUTS[config.format]
    label = _bend(layout.label, config.label_dir, config.label_suffix)
    # Files of a kind the format does not know lie beside the label maps, until told otherwise.
    beside = Role(label.folder, IMAGE_SUFFIXES)
    instance, photo = layout.instance, layout.photo
    if config.instance_dir is not None or config.instance_suffix is not None:
        instance = _bend(instance or beside, config.instance_dir, config.instance_suffix)
    if config.photo_dir is not None or config.photo_suffix is not None:
        photo = _bend(photo or beside, config.photo_dir, config.photo_suffix)
    return replace(layout, label=label, instance=instance, photo=photo)


def _bend(role: Role, folder: str | None, suffixes: tuple[str, ...] | None) -> Role:
    return Role(role.folder if folder is None else folder, suffixes or role.suffixes)


def _open_zarr(tree: Tree, config: DatasetConfig) -> Source:
    if config.half is not None:
        raise DatasetError(
            f"{tree.root}: half: samples of an output may show the same photo in both halves; "
            "expected the dataset that it was made of"
        )
    if config.split is not None:
        raise DatasetError(f"{tree.root}: format {ZARR_FORMAT!r} has no splits, leave split out")
    source = open_zarr(
        tree,
        instances=config.instances or "files",
        photos=config.photos,
        min_component_area=config.min_component_area,
    )
    if config.taxonomy is not None:
        asked = Taxonomy.load(config.taxonomy)
        if asked.fingerprint != source.taxonomy.fingerprint:
            raise TaxonomyError(
                f"{tree.root}: made with taxonomy {source.taxonomy.name!r} "
                f"version {source.taxonomy.version}, not with {config.taxonomy!r}"
            )
    return replace(source, scenes=select_scenes(source.scenes, config, where=str(tree.root)))
