"""`python -m kafka_bridge`: events to Kafka, notifications from Kafka, and Redis from Kafka.

`mirror` writes the event stream to a topic as CloudEvents (`cloud_events`) by way of `outbox`;
`ingest` takes requests (`requests`) from a topic and queues them (`admission`); `restore` rebuilds
an empty Redis (`archive`, `rebuild`). docs/reference/kafka.md tells what each of them promises.
"""
