"""Remote commands and forwarded ports: SPDY/3.1 and WebSockets."""
