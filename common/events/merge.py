"""Merge of the events of several shards into one order."""

from collections.abc import AsyncIterator, Sequence

from common.events.event import Event, stream_order


async def merge_events(
    sources: Sequence[AsyncIterator[Event]], *, newest_first: bool = False
) -> AsyncIterator[Event]:
    """Yield events of several streams, each in its own order, by time and number.

    Events of one stream stay in its order. Those of different streams are ordered by the clocks of
    their servers, which differ by what such clocks differ.

    Args:
        sources: one iterator for each stream.
        newest_first: the order of the sources and of what is yielded.
    """
    if len(sources) == 1:
        async for event in sources[0]:
            yield event
        return
    heads = [(await anext(source, None), source) for source in sources]
    pick = max if newest_first else min
    while left := [(event, source) for event, source in heads if event is not None]:
        event, source = pick(left, key=lambda head: stream_order(head[0]))
        yield event
        heads = [
            (await anext(source, None) if other is source else head, other) for head, other in left
        ]
