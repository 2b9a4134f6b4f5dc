"""The data of hdsynth: taxonomies, sources, scenes, recomposition, the Beam job and its zarr output."""
