"""KCP, a reliable byte stream over datagrams, without any I/O."""
