"""The local stack: the whole system in one terminal, for `make run` and `make dev`.

    python -m deploy.local (console, signals, first screen)
      └─ supervisord (starts, restarts, stops in order)
           ├─ valkey-server
           ├─ python -m ws_gateway
           ├─ python -m worker
           └─ python -m server

supervisord runs the processes; this package writes its configuration, prefixes every line with
its process's name, and tells supervisord when to stop or, with `--reload`, what to restart.
"""
