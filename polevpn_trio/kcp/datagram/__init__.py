"""The native ``datagram`` conversation: IP packets that do not wait for each other."""
