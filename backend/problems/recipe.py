"""The training recipe, for callers above ``problems``; defined beside the training loop."""

from backend.models.recipe import Recipe

__all__ = ["Recipe"]
