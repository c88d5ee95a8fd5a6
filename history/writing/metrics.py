"""Metrics of the history writer."""

from prometheus_client import Counter

from common.telemetry.metrics import latency_histogram, shared_gauge, summed_gauge

batches = Counter("roomcast_history_batches_total", "Batches that were written")
events = Counter(
    "roomcast_history_events_total", "Events that were written, by kind (or `malformed`)", ["kind"]
)
rows = Counter("roomcast_history_rows_total", "Rows that were new, by table", ["table"])
transactions = Counter("roomcast_history_transactions_total", "Transactions that wrote events")
refused_rows = Counter(
    "roomcast_history_refused_rows_total",
    "Rows that were left out: PostgreSQL refused them, or their time is outside of what is kept",
    ["table"],
)
retries = Counter(
    "roomcast_history_retries_total", "Times that a batch had to be tried again after an error"
)
writes_saved_ratio = shared_gauge(
    "roomcast_history_writes_saved_ratio",
    "Share of database writes saved since the start, against one write per event",
)
write_seconds = latency_histogram(
    "roomcast_history_write_seconds", "From the first try to write a batch to its commit"
)
behind_seconds = latency_histogram(
    "roomcast_history_event_to_row_seconds", "From the event to its row, of a batch's oldest"
)
retained_seconds = shared_gauge(
    "roomcast_history_retained_seconds", "Time that history reaches back"
)
leads = summed_gauge("roomcast_history_leads", "Replicas that write (1, but in a change-over)")
