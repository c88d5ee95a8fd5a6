"""Kafka positions of the publications in one batch of the bridge, as JSON.

The list is kept as the bridge wrote it (`mirror_batches`): a query for one publication looks
through the batches of its time, which is a thousandth of the work that a row for each would be.
"""

from typing import Annotated, Final

import msgspec

_Offset = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Partition = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]

MirrorEntry = tuple[str, str, _Offset, _Partition, _Offset]
"""Scoped channel, epoch and offset of a publication; its partition and offset in Kafka."""

_decoder: Final = msgspec.json.Decoder(list[MirrorEntry])


def decode_mirror_entries(text: str | bytes | msgspec.Raw) -> list[MirrorEntry]:
    """Read a list of entries.

    Raises:
        msgspec.MsgspecError: it is not such a list.
    """
    return _decoder.decode(text)
