"""Nothing is here yet.

This package will write the event stream to Postgres and answer the queries of the inbox from there.
The worker already writes the stream that it will read (`Keys.events`).
"""
