"""Longest-prefix match in a few cache lines, however many prefixes there are.

A multibit trie with path compression: a node looks at six bits of the address (its stride), and
there are nodes only where prefixes part or where several end. Inside of a node a prefix is written
to each entry that it covers (controlled prefix expansion), so one entry a node tells all. Both are
described by M. Ruiz-Sanchez, E. Biersack and W. Dabbous, "Survey and taxonomy of IP address lookup
algorithms", IEEE Network, 2001. The bits between two nodes are not looked at on the way down, as in
PATRICIA (D. Morrison, 1968); instead the prefixes found there are compared with the address.

An address takes at most a node for every six of its bits, and so does a change, with at most 32
entries of six prefixes each in the last node. There are fewer nodes than prefixes. Nothing is
hashed, so nobody can choose prefixes that make it slower than that.
"""

from __future__ import annotations

from array import array
from typing import Any

# The layout, whose numbers are written out below, since a name would be a variable in C.
#
# A node is 64 entries, one for each value of its six bits. (There are four bits left of 64, which
# are then followed by two zeros.) An entry is two words of 32 bits, and goes by the place of the
# first. The second is the number of the longest prefix that ends in this node and covers the entry,
# or 0. The first is what is below:
#
#   from bit 7   the number of a node, or of a prefix if that is alone there (a leaf); of a leaf
#                that is none, 0
#   bit 6        of a node: its bits are in the second half of the address
#   bits 0 to 5  of a node: how many bits of that half come before them, an even number
#   bit 0        it is a leaf
#
# A record of a prefix is three words of 64 bits. The first two are the halves of its address, and
# the third is:
#
#   from bit 8   the number of the next shorter prefix that ends in this node and covers it, or 0
#   bits 0 to 7  its length in bits
#
# Record 0 is that of no prefix: its length is 0, so it holds every address.
_NOTHING = 1


class PrefixTrie:
    """Prefixes of IPv4 and, apart from them, of IPv6, each with a number from 1 on.

    ``values`` has what belongs to each number, to be set by the caller; ``values[0]`` is None.
    ``nodes`` is one more than the most nodes that there ever were at once, of 529 bytes each.

    Prefixes are given as a version (4 or 6), the two halves of their 128 bits (those of IPv4 come
    first, and zeros after them), and their length in bits; what follows the prefix must be zeros.
    """

    def __init__(self) -> None:
        # Node 0 is none: its first two entries are what IPv4 and IPv6 begin at.
        self._entries = array("I", [_NOTHING, 0] * 64)
        # The bits that lead to each node, in two words; what follows them means nothing.
        self._paths = array("Q", bytes(8 * 2))
        # How many prefixes end in each node and how many nodes and leaves are below it: together
        # two at least, and at most 126 and 64.
        self._held = array("B", bytes(1))
        self.nodes = 1
        self._free_node = 0
        self._records = array("Q", bytes(8 * 3))
        self._free_record = 0
        self.values: list[Any] = [None]

    def lookup(self, address: bytes) -> Any:
        """Return the value of the longest prefix of an address (4 or 16 bytes), or None."""
        high = 0
        low = 0
        if len(address) == 4:
            at = 0
            for index in range(4):
                high = high << 8 | address[index]
            high <<= 32
        elif len(address) == 16:
            at = 2
            for index in range(8):
                high = high << 8 | address[index]
                low = low << 8 | address[index + 8]
        else:
            raise ValueError(f"an address of {len(address)} bytes")
        root = at
        best = 0
        half = high
        # No branch on whether an entry has a prefix, since a processor would often guess wrong.
        while True:
            found = self._entries[at + 1]
            best = found if found != 0 else best
            below = self._entries[at]
            if below & 65 != 0:
                # A leaf, or the first node that looks at the second half; so do those after it.
                if _is_leaf(below):
                    break
                half = low
            at = (below >> 7) * 128 + (half << (below & 62) >> 58 & 63) * 2
        leaf = _number(below)
        leaf = leaf if leaf != 0 else best
        if self._holds(leaf, high, low):
            return self.values[leaf]
        if self._holds(best, high, low):
            return self.values[best]
        # The way led past bits that differ. Go only as far as they do not.
        at = root
        best = 0
        while True:
            found = self._entries[at + 1]
            if not self._holds(found, high, low):
                return self.values[best]
            best = found if found != 0 else best
            at = _entry(self._entries[at], high, low)

    def find(self, version: int, high: int, low: int, length: int) -> int:
        """Return the number of exactly this prefix, 0 if it is not there."""
        at = 0 if version == 4 else 2
        end = _end(length)
        found = 0
        while True:
            below = self._entries[at]
            if length == 0:
                break
            if _is_leaf(below):
                found = _number(below)
                break
            if _start(below) > end:
                return 0
            at = _entry(below, high, low)
            if _start(below) == end:
                break
        if found == 0:
            found = self._entries[at + 1]
        while found != 0 and self._length(found) != length:
            found = self._covering(found)
        return found if found != 0 and self._holds(found, high, low) else 0

    def insert(self, version: int, high: int, low: int, length: int) -> int:
        """Add a prefix that is not there, and return its number."""
        record = self._new_record(high, low, length)
        at = 0 if version == 4 else 2
        if length == 0:
            self._entries[at + 1] = record
            return record
        end = _end(length)
        node = 0
        start = 0
        while True:
            below = self._entries[at]
            if below == _NOTHING:
                self._entries[at] = _leaf(record)
                break
            index = _number(below)
            if _is_leaf(below):
                other_high = self._records[3 * index]
                other_low = self._records[3 * index + 1]
                other_end = _end(self._length(index))
            else:
                other_high = self._paths[2 * index]
                other_low = self._paths[2 * index + 1]
                other_end = _start(below)
            # The next node must be where the two part, or where the first of them ends.
            while (
                start < end
                and start < other_end
                and _six_bits(high, low, start) == _six_bits(other_high, other_low, start)
            ):
                start = _after(start)
            if _is_leaf(below) or start != other_end:
                between = _node(self._new_node(high, low), start)
                if _is_leaf(below) and start == other_end:
                    self._enter(between, index)
                else:
                    self._entries[_entry(between, other_high, other_low)] = below
                self._held[_number(between)] = 1
                self._entries[at] = between
                below = between
            node = _number(below)
            if start == end:
                self._enter(below, record)
                break
            at = _entry(below, high, low)
            start = _after(start)
        if node != 0:
            self._held[node] += 1
        return record

    def remove(self, version: int, record: int) -> None:
        """Take out a prefix that is there, and its value; another may get its number."""
        high = self._records[3 * record]
        low = self._records[3 * record + 1]
        length = self._length(record)
        at = 0 if version == 4 else 2
        holder = at
        node = 0
        if length == 0:
            self._entries[at + 1] = 0
        else:
            end = _end(length)
            while True:
                below = self._entries[at]
                if _is_leaf(below):
                    self._entries[at] = _NOTHING
                    break
                holder = at
                node = _number(below)
                if _start(below) == end:
                    self._withdraw(below, record)
                    break
                at = _entry(below, high, low)
        if node != 0:
            self._held[node] -= 1
            if self._held[node] == 1:
                self._dissolve(node, holder)
        self._records[3 * record + 2] = self._free_record
        self._free_record = record
        # At last, since the end of a value may run code that uses us.
        self.values[record] = None

    def _holds(self, record: int, high: int, low: int) -> bool:
        """Whether an address begins with a prefix."""
        at = 3 * record
        length = self._records[at + 2] & 255
        high ^= self._records[at]
        if length <= 64:
            return length == 0 or high >> (64 - length) == 0
        return high == 0 and (low ^ self._records[at + 1]) >> (128 - length) == 0

    def _length(self, record: int) -> int:
        return self._records[3 * record + 2] & 255

    def _covering(self, record: int) -> int:
        return self._records[3 * record + 2] >> 8

    def _cover(self, record: int, covering: int) -> None:
        """Say what the next shorter prefix in the same node is."""
        at = 3 * record + 2
        self._records[at] = covering << 8 | self._records[at] & 255

    def _enter(self, below: int, record: int) -> None:
        """Write a prefix that ends in a node to the entries that it covers."""
        length = self._length(record)
        first = self._first_entry(below, record)
        for at in range(first, first + _covered(length), 2):
            longer = 0
            shorter = self._entries[at + 1]
            while shorter != 0 and self._length(shorter) > length:
                longer = shorter
                shorter = self._covering(shorter)
            # Entries with a longer prefix in common share what comes after that.
            if shorter != record:
                self._cover(record, shorter)
                if longer != 0:
                    self._cover(longer, record)
                else:
                    self._entries[at + 1] = record

    def _withdraw(self, below: int, record: int) -> None:
        """Do away with what `_enter` wrote."""
        covering = self._covering(record)
        first = self._first_entry(below, record)
        for at in range(first, first + _covered(self._length(record)), 2):
            longer = 0
            found = self._entries[at + 1]
            while found != 0 and found != record:
                longer = found
                found = self._covering(found)
            if found != 0:
                if longer != 0:
                    self._cover(longer, covering)
                else:
                    self._entries[at + 1] = covering

    def _first_entry(self, below: int, record: int) -> int:
        high = self._records[3 * record]
        low = self._records[3 * record + 1]
        return _entry(below, high, low)

    def _dissolve(self, node: int, holder: int) -> None:
        """Put the only thing that a node holds in its own place, below the entry ``holder``."""
        left = 0
        for at in range(128 * node, 128 * (node + 1), 2):
            if self._entries[at] != _NOTHING:
                left = self._entries[at]
            elif self._entries[at + 1] != 0:
                left = _leaf(self._entries[at + 1])
        self._entries[holder] = left
        self._entries[128 * node] = self._free_node
        self._free_node = node

    def _new_node(self, high: int, low: int) -> int:
        """Make an empty node that these bits lead to."""
        node = self._free_node
        if node != 0:
            self._free_node = self._entries[128 * node]
        else:
            node = self.nodes
            self.nodes += 1
            if node == len(self._held):
                entries = array("I", [0]) * (2 * 128 * node)
                entries[: 128 * node] = self._entries
                self._entries = entries
                paths = array("Q", [0]) * (2 * 2 * node)
                paths[: 2 * node] = self._paths
                self._paths = paths
                held = array("B", [0]) * (2 * node)
                held[:node] = self._held
                self._held = held
        self._paths[2 * node] = high
        self._paths[2 * node + 1] = low
        self._held[node] = 0
        for at in range(128 * node, 128 * (node + 1), 2):
            self._entries[at] = _NOTHING
            self._entries[at + 1] = 0
        return node

    def _new_record(self, high: int, low: int, length: int) -> int:
        record = self._free_record
        if record != 0:
            self._free_record = self._records[3 * record + 2]
        else:
            record = len(self.values)
            if record >> 25 != 0:
                raise OverflowError("more prefixes than entries have bits for their numbers")
            self.values.append(None)
            if 3 * record == len(self._records):
                records = array("Q", [0]) * (2 * 3 * record)
                records[: 3 * record] = self._records
                self._records = records
        self._records[3 * record] = high
        self._records[3 * record + 1] = low
        self._records[3 * record + 2] = length
        return record


def _node(number: int, start: int) -> int:
    """Give the word for a node whose bits are those from bit ``start`` of an address on."""
    return number << 7 | start


def _leaf(record: int) -> int:
    return record << 7 | 1


def _number(below: int) -> int:
    return below >> 7


def _is_leaf(below: int) -> bool:
    return below & 1 != 0


def _start(below: int) -> int:
    """Give the first bit of an address that the node ``below`` looks at."""
    return below & 127


def _entry(below: int, high: int, low: int) -> int:
    """Give the place of the entry for an address in the node ``below``."""
    return (below >> 7) * 128 + _six_bits(high, low, below & 127) * 2


def _after(start: int) -> int:
    """Give the first bit that a next node may look at."""
    return start + 4 if start & 63 == 60 else start + 6


def _end(length: int) -> int:
    """Give the first bit that the node looks at in which a prefix of this length, not 0, ends."""
    return (length - 1 & 63) // 6 * 6 + (length - 1 & 64)


def _covered(length: int) -> int:
    """Give the words of the entries that a prefix covers in the node that it ends in."""
    return 64 >> (length - 1 & 63) % 6


def _six_bits(high: int, low: int, start: int) -> int:
    """Give the bits of an address that a node looks at."""
    half = low if start & 64 else high
    return half << (start & 63) >> 58 & 63
