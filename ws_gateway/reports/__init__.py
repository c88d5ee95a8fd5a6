"""Reports of deliveries by a gateway: receipts, counts, usage."""
