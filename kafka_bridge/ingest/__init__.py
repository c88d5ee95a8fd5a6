"""From Kafka to the job lists."""
