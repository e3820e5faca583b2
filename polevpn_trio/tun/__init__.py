"""The TUN device and the host network settings around it."""
