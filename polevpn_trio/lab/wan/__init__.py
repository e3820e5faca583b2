"""A wide-area network in a process: loss, delay, jitter, rate and queue between two hosts."""
