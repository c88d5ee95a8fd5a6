"""Secret settings from files: `NAME_FILE` names the file that holds `NAME`.

If one source (the environment, or `.env`) has both, it is unclear which one is meant, and both are
refused. Otherwise the environment comes before `.env`, whichever of the two it has.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from common.errors import RoomcastError

SUFFIX: Final = "_file"


class SecretFileError(RoomcastError):
    """A secret can't be read from its file; the text says why but quotes nothing of the file.

    Args:
        setting: name of the setting, in upper case.
        reason: why.
    """

    def __init__(self, setting: str, reason: str) -> None:
        super().__init__(f"setting {setting} is refused: {reason}")


class WithSecretFiles(PydanticBaseSettingsSource):
    """Source of settings that reads secrets from their files, where files are named.

    Args:
        settings: the class.
        source: its settings are completed.
        secrets: names of the settings that are secrets.
    """

    def __init__(
        self,
        settings: type[BaseSettings],
        source: PydanticBaseSettingsSource,
        secrets: Collection[str],
    ) -> None:
        super().__init__(settings)
        self._source = source
        self._secrets = secrets

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the value of one field; see pydantic-settings."""
        return self._source.get_field_value(field, field_name)

    def __call__(self) -> dict[str, Any]:
        """Return all settings of the source.

        Raises:
            SecretFileError: a secret is given twice, or its file can't be read or is empty.
        """
        found = dict(self._source())
        for name in self._secrets:
            path = found.get(name + SUFFIX)
            if not path:
                continue
            setting = (name + SUFFIX).upper()
            if found.get(name):
                raise SecretFileError(setting, f"{name.upper()} is set as well; set one of them")
            found[name] = _read(setting, path)
        return found


def _read(setting: str, path: str) -> str:
    try:
        text = Path(path).read_text()
    except OSError as error:
        raise SecretFileError(setting, f"{path}: {error.strerror}") from None
    except ValueError:
        raise SecretFileError(setting, f"{path} is no text in UTF-8") from None
    secret = text.removesuffix("\n").removesuffix("\r")
    if not secret:
        raise SecretFileError(setting, f"{path} is empty")
    return secret
