"""Stores of the local stack: PostgreSQL and Kafka from their wheels."""
