"""The event stream: its entries, its readers, and receipts written to it."""
