"""Stores of the local stack: Valkey, PostgreSQL and Kafka from their wheels."""
