"""Metrics of the gateway."""

from prometheus_client import Counter

from common.telemetry.metrics import latency_histogram, summed_gauge

connections = summed_gauge("roomcast_connections", "Open sockets")
registered = summed_gauge("roomcast_registered_connections", "Sockets that are registered")
in_line = summed_gauge("roomcast_clients_in_line", "Connections that wait to be let in")
channels = summed_gauge("roomcast_subscribed_channels", "Channels subscribed in Redis")
pending_bytes = summed_gauge("roomcast_pending_bytes", "Bytes that wait to be fanned out")
handshakes = Counter("roomcast_handshakes_total", "WebSocket handshakes, by result", ["result"])
tickets = Counter("roomcast_tickets_total", "Tickets that were shown, by result", ["result"])
deliveries = Counter("roomcast_deliveries_total", "Notifications written to sockets")
writes = Counter("roomcast_writes_total", "Writes to sockets that carried notifications")
received = Counter("roomcast_received_publications_total", "Publications taken from Redis")
gaps = Counter("roomcast_gaps_total", "Gaps found in channels", ["found_by"])
gaps_repaired = Counter("roomcast_gaps_repaired_total", "Publications filled in from channel logs")
unrepaired = Counter("roomcast_unrepaired_gaps_total", "Gaps that the log no longer covered")
malformed = Counter("roomcast_malformed_publications_total", "Publications that could not be read")
slow_connections = Counter(
    "roomcast_slow_clients_total", "Connections cut off because they did not read their answers"
)
left_behind = Counter(
    "roomcast_left_behind_total",
    "Times that a connection which did not read was left behind a channel",
)
replayed = Counter(
    "roomcast_replayed_total", "Publications sent from channel logs to connections that were behind"
)
resumed = Counter(
    "roomcast_resumed_channels_total",
    "Channels that connections resumed, by outcome",
    ["recovered"],
)
unrecovered = Counter(
    "roomcast_unrecovered_total", "Times that a connection was behind by more than the log covers"
)
receipts = Counter("roomcast_receipts_total", "Receipts from sockets, by kind", ["kind"])
sights_dropped = Counter(
    "roomcast_sights_dropped_total", "Registrations that could not be noted as a user's first sight"
)
written_dropped = Counter(
    "roomcast_written_runs_dropped_total", "Counts of writes that could not be reported"
)
closes = Counter("roomcast_closes_total", "Sockets closed by the gateway, by code", ["code"])
errors_sent = Counter("roomcast_client_errors_total", "Error frames sent, by code", ["code"])
resubscriptions = Counter(
    "roomcast_resubscriptions_total", "Subscriptions that were lost and made again"
)
backpressure = Counter(
    "roomcast_backpressure_total", "Times that reading from Redis paused because too much waited"
)
latency_seconds = latency_histogram(
    "roomcast_delivery_seconds", "From acceptance to the last socket of this gateway"
)
