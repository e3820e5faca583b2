"""The ways to reach a peer: KCP over DTLS, TLS, and WebSocket."""
