"""Version of Roomcast, from which pyproject.toml, the documents and the image take it."""

from typing import Final

VERSION: Final = "0.1.0"
"""Semantic version; CHANGELOG.md has a section for each."""
