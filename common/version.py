"""The version of Roomcast: pyproject.toml, the documents and the image take it from here."""

from typing import Final

VERSION: Final = "0.1.0"
"""By Semantic Versioning; CHANGELOG.md has a section for each."""
