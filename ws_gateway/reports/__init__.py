"""What a gateway tells the rest of what it delivered: receipts, counts, usage."""
