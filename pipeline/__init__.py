"""The data of hdsynth: taxonomies, sources, scenes, recomposition, the Beam job, its output."""
