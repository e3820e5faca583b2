"""Which link a packet leaves by."""
