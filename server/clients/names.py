"""Names that people give to clients and keys."""

from typing import Annotated, Final

from pydantic import StringConstraints

NAME_MAX_CHARACTERS: Final = 100

Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=NAME_MAX_CHARACTERS, pattern=r"^[^\x00-\x1f\x7f]*$"),
]
