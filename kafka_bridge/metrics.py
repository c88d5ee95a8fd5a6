"""Metrics of the bridge."""

from prometheus_client import Counter, Gauge

from common.telemetry.metrics import latency_histogram

mirrored = Counter("roomcast_kafka_mirrored_total", "Events that the broker has acknowledged")
mirror_retries = Counter(
    "roomcast_kafka_mirror_retries_total", "Times that unacknowledged batches were sent again"
)
mirror_seconds = latency_histogram(
    "roomcast_kafka_mirror_seconds", "From the sending of a batch to the broker's acknowledgement"
)
left_out = Counter(
    "roomcast_kafka_left_out_total",
    "Messages that the broker never takes: their head went in their place, or they are lost",
    ["topic", "outcome"],
)
leads = Gauge("roomcast_kafka_leads", "1 while a replica mirrors", multiprocess_mode="livesum")
ingested = Counter(
    "roomcast_kafka_ingested_total", "Requests taken from Kafka, by outcome", ["outcome"]
)
ingest_paused = Gauge(
    "roomcast_kafka_ingest_paused",
    "1 while requests are left in Kafka because Redis has no room or does not answer",
    multiprocess_mode="livemax",
)
