"""From the event stream to Kafka."""
