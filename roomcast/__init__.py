"""The `roomcast` command: one name in front of every process and every tool.

The folders of the processes (`server/`, `common/`, …) have names that others use, too. An installed
Roomcast keeps them below `roomcast/parts`, and `roomcast.command` makes them importable in its own
process only.
"""
