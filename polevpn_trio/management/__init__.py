"""What operators see of a running program: state, routes, events, over a Unix socket. Read-only."""
