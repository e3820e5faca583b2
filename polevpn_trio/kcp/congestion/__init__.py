"""How fast to send: congestion control behind one small interface (``base.py``)."""
