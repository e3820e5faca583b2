"""What travels on a link: frames, their control messages, and the IP packets within."""
