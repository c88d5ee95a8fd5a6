"""Messages as Kafka has them."""
