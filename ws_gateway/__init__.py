"""WebSocket gateway: registers connections and fans publications out to them."""
