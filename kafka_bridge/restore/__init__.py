"""From Kafka to an empty Redis."""
