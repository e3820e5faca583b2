"""``polevpn-trio doctor``: what an expert would look at on a machine of the network.

Each module holds one topic: what is to be known about it (a frozen class of facts), the look that
finds that out, and the judgement, a function of the facts alone that tells what follows from them
and which command or configuration key mends it.
"""
