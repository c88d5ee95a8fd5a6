"""Reading of the settings at a start: from the environment first, and from `.env` second.

The environment is read here and nowhere else. An invalid value is refused with the setting's name.
"""

import os
import sys
from collections.abc import Collection, Iterator
from difflib import get_close_matches
from typing import Final, NoReturn

from pydantic import ValidationError
from pydantic_settings import DotEnvSettingsSource

from common.config.renamed import RENAMED, warn_of_old_names
from common.config.secret_files import SecretFileError
from common.config.settings import ENV_FILE, SECRETS, Settings

COMPOSE_NAMES: Final = frozenset({"IMAGE_TAG"})
"""Names in `.env` that only compose uses, besides those that begin with `COMPOSE_`."""
_NEAR: Final = 0.7
"""Likeness from which on a name in `.env` is taken for a misspelt setting."""
_MISSPELT: Final = 0.9
"""The same for a name in the environment: a letter or two differ."""


def refuse(name: str, reason: str) -> NoReturn:
    """Exit because of a setting.

    Raises:
        SystemExit: status 2, after one line on stderr.
    """
    sys.stderr.write(f"setting {name} is refused: {reason}\n")
    raise SystemExit(2)


def find_unknown(in_file: Collection[str], in_environment: Collection[str] = ()) -> Iterator[str]:
    """Find names that nothing reads; yield a sentence for each, with the nearest setting.

    Args:
        in_file: names in `.env`, all of which should be settings.
        in_environment: names in the environment, of which only those count that look like a
            misspelt setting: it is full of variables of other programs.
    """
    settings = {name.upper() for name in Settings.model_fields}
    known = settings | {f"{name.upper()}_FILE" for name in SECRETS} | COMPOSE_NAMES
    names = dict.fromkeys(map(str.upper, in_environment), "the environment")
    names |= dict.fromkeys(map(str.upper, in_file), ENV_FILE)
    for name, where in names.items():
        if name in known or name.lower() in RENAMED or name.startswith("COMPOSE_"):
            continue
        cutoff = _NEAR if where == ENV_FILE else _MISSPELT
        near = get_close_matches(name, known, n=1, cutoff=cutoff)
        if near or where == ENV_FILE:
            meant = f"; did you mean {near[0]}?" if near else ""
            yield f"WARNING {where} sets {name}, which is no setting, and is ignored{meant}"


def load_settings(*, warn: bool = True) -> Settings:
    """Read the settings, or exit with the name and the fault of every wrong one.

    Args:
        warn: whether to write a line on stderr for each name in `.env` that is no setting, and in
            the environment that looks like a misspelt one, and one for all old names. Replicas
            leave that to their parent.

    Raises:
        SystemExit: status 2, after one line on stderr for each setting that was refused.
    """
    try:
        in_file = DotEnvSettingsSource(Settings).env_vars
        if warn and (old_names := warn_of_old_names([*in_file, *os.environ])):
            sys.stderr.write(f"{old_names}\n")
        settings = Settings()
    except ValidationError as error:
        for item in error.errors():
            name = ".".join(str(part) for part in item["loc"])
            got = "" if name in SECRETS else f" (got {item['input']!r})"
            reason = item["msg"].removeprefix("Value error, ")
            sys.stderr.write(f"setting {name.upper()} is refused: {reason}{got}\n")
        raise SystemExit(2) from None
    except SecretFileError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None
    except (OSError, UnicodeDecodeError) as error:
        sys.stderr.write(f"the settings in .env can't be read: {error}\n")
        raise SystemExit(2) from None
    if warn:
        sys.stderr.writelines(f"{line}\n" for line in find_unknown(in_file, os.environ))
    return settings
