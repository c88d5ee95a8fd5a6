"""Settings that have a new name. The old one still works for one release, with a warning."""

from collections.abc import Collection, Mapping
from typing import Any, Final

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource

RENAMED: Final[Mapping[str, str]] = {
    "client_frame_max_bytes": "socket_frame_max_bytes",
    "client_frames_per_s": "socket_frames_per_s",
    "client_frames_burst": "socket_frames_burst",
    "slow_client_max_bytes": "socket_unsent_max_bytes",
}
"""New name by old name, both in lower case."""


class WithOldNames(PydanticBaseSettingsSource):
    """Source of settings that also takes the old names, where the new one is not set.

    Args:
        settings: the class.
        source: the environment, or `.env`.
        renamed: new names by old names.
    """

    def __init__(
        self,
        settings: type[BaseSettings],
        source: EnvSettingsSource,
        renamed: Mapping[str, str] = RENAMED,
    ) -> None:
        super().__init__(settings)
        self._source = source
        self._renamed = renamed

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the value of one field; see pydantic-settings."""
        return self._source.get_field_value(field, field_name)

    def __call__(self) -> dict[str, Any]:
        """Return all settings of the source, under their new names."""
        found = dict(self._source())
        for old, new in self._renamed.items():
            if new not in found and (value := self._source.env_vars.get(old)) is not None:
                found[new] = value
        return found


def warn_of_old_names(names: Collection[str], renamed: Mapping[str, str] = RENAMED) -> str:
    """Make the line for a person who sets settings by their old names; empty if nobody does.

    Args:
        names: all names that are set, in any case.
        renamed: new names by old names.
    """
    given = {name.lower() for name in names}
    found = [
        f"{old.upper()} is {new.upper()} now"
        + (", which is set as well and comes first" if new in given else "")
        for old, new in renamed.items()
        if old in given
    ]
    if not found:
        return ""
    return f"WARNING old names of settings: {'; '.join(found)}. The next release won't know them"
