"""Configuration, logs, and the state of a session: beside the road, never on it."""
