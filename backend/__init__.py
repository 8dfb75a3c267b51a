"""Active-learning backend for Label Studio. Layers, from the top: see ``[tool.importlinter]`` in pyproject.toml."""

__version__ = "0.1.0"
