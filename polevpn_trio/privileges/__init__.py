"""What root's rights are needed for, and how a program gives up all others.

A program that root starts opens what takes rights, and becomes ``user`` of its configuration
before it runs (`rights.give_up`). Nothing gives it any right back.
"""
