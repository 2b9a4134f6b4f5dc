"""What a checkpoint remembers of the taxonomy its generator belongs to."""

from typing import Any


def taxonomy_record(name_or_path: str) -> dict[str, Any]:
    """Name, version, fingerprint and class names of a shipped taxonomy or of a YAML file.

    Raises:
        TaxonomyError: There is no such taxonomy.
        ConfigError: The file is malformed.
    """
    from pipeline.taxonomy import Taxonomy

    taxonomy = Taxonomy.load(name_or_path)
    return {
        "name": taxonomy.name,
        "version": taxonomy.version,
        "fingerprint": taxonomy.fingerprint,
        "class_names": taxonomy.class_names,
    }
