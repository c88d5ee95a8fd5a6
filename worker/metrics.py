"""Metrics of the worker."""

from prometheus_client import Counter

from common.telemetry.metrics import latency_histogram, shared_gauge

publications = Counter("roomcast_publications_total", "Publications, by lane", ["lane"])
expired = Counter("roomcast_expired_total", "Jobs that expired before they were published")
lost_turns = Counter(
    "roomcast_lost_turns_total",
    "Turns that were gone when their jobs should be published",
    ["lane"],
)
returned_turns = Counter("roomcast_returned_turns_total", "Turns put back from expired leases")
healed_turns = Counter("roomcast_healed_turns_total", "Turns made again by the audit", ["lane"])
dead_letters = Counter("roomcast_dead_letters_total", "Jobs sent to the dead letters")
admitted = Counter("roomcast_admitted_total", "Jobs that came through the open door", ["lane"])
duplicates = Counter("roomcast_duplicates_total", "Jobs at the open door whose id was known")
reconnects = Counter("roomcast_worker_reconnects_total", "Loops that began a new life", ["loop"])
publish_seconds = latency_histogram(
    "roomcast_publish_seconds", "From the taking of turns to the reply of the publishing script"
)
wait_seconds = latency_histogram(
    "roomcast_accepted_to_published_seconds", "From acceptance to publication, of a batch's oldest"
)
waiting_jobs = shared_gauge("roomcast_waiting_jobs", "Jobs that wait in a lane", ("lane",))
door_jobs = shared_gauge("roomcast_door_jobs", "Jobs that wait at a lane's open door", ("lane",))
ready_turns = shared_gauge("roomcast_ready_turns", "Turns that nobody holds", ("lane",))
held_turns = shared_gauge("roomcast_held_turns", "Turns that are held", ("lane",))
dead_letter_entries = shared_gauge("roomcast_dead_letter_entries", "Dead letters that are kept")
event_entries = shared_gauge("roomcast_event_entries", "Length of the event stream")
events_unread = shared_gauge(
    "roomcast_events_unread",
    "Events that a reader has not acknowledged (-1: it has not begun)",
    ("reader",),
)
events_dropped = Counter(
    "roomcast_events_dropped_total",
    "Events that a reader never got, because it was too far behind",
    ["reader"],
)
