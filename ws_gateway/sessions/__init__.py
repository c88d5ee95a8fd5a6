"""What a gateway does with the messages of its clients."""
