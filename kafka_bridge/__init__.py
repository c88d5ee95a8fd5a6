"""Nothing is here yet.

This package will mirror the event stream to Kafka, take notifications from Kafka, and restore from
Kafka what Redis lost. The worker already writes the stream that it will read (`Keys.events`).
"""
