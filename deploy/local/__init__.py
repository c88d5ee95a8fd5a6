"""The whole system on one machine, in one terminal: what `make run` and `make dev` start.

    python -m deploy.local (console, signals, first screen)
      └─ supervisord (starts, restarts, stops in order)
           ├─ valkey-server
           ├─ python -m ws_gateway
           ├─ python -m worker
           └─ python -m server

supervisord keeps the processes; this package writes its configuration, gives every line its
process's name, and tells supervisord when to stop or, with `--reload`, what to restart.
"""
