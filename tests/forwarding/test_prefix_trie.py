"""What the trie is beside a map of prefixes: no larger than it has to be, and right everywhere.

That it finds what it should is in `test_prefix_table`.
"""

from __future__ import annotations

import pytest

from polevpn_trio.forwarding.prefix_trie import PrefixTrie

BITS = {4: 32, 6: 128}


def halves(version: int, address: int) -> tuple[int, int]:
    number = address << (128 - BITS[version])
    return number >> 64, number & (1 << 64) - 1


def insert(trie: PrefixTrie, version: int, address: int, length: int) -> int:
    number = trie.insert(version, *halves(version, address), length)
    trie.values[number] = length
    return number


@pytest.mark.parametrize("version", [4, 6])
def test_prefixes_of_every_length_nest(version: int) -> None:
    """The strides do not divide half an address, and every place in them is the end of some."""
    bits = BITS[version]
    ones = (1 << bits) - 1
    trie = PrefixTrie()
    numbers = {}
    # From the middle outwards, so that longer and shorter ones come after others.
    for length in sorted(range(bits + 1), key=lambda length: abs(length - bits // 2)):
        address = ones >> (bits - length) << (bits - length)
        numbers[length] = insert(trie, version, address, length)
        assert trie.find(version, *halves(version, address), length) == numbers[length]
    for length in range(bits + 1):
        # An address that parts from the prefixes after so many bits.
        address = ones ^ (1 << (bits - length - 1) if length < bits else 0)
        assert trie.lookup(address.to_bytes(bits // 8, "big")) == length
    for length in range(bits, -1, -1):
        assert trie.lookup(ones.to_bytes(bits // 8, "big")) == length
        trie.remove(version, numbers[length])
    assert trie.lookup(ones.to_bytes(bits // 8, "big")) is None


@pytest.mark.parametrize("version", [4, 6])
def test_what_was_removed_leaves_its_room_to_others(version: int) -> None:
    bits = BITS[version]
    trie = PrefixTrie()
    insert(trie, version, 0, bits)
    for host in range(1, 5000):
        # Now and then one ends where the first begins to differ from it.
        length = bits if host % 3 else bits - host.bit_length() + 1
        address = host >> (bits - length) << (bits - length)
        trie.remove(version, insert(trie, version, address, length))
    assert len(trie.values) == 3
    assert trie.nodes == 2
    assert trie.lookup(bytes(bits // 8)) == bits


@pytest.mark.parametrize("version", [4, 6])
def test_there_are_fewer_nodes_than_prefixes_however_they_are_chosen(version: int) -> None:
    """Pairs that part in their last bit, each pair far from the others."""
    bits = BITS[version]
    trie = PrefixTrie()
    numbers = [
        insert(trie, version, pair << (bits - 10) | last, bits)
        for pair in range(1000)
        for last in (0, 1)
    ]
    assert trie.nodes <= len(numbers)
    for number in numbers:
        trie.remove(version, number)
    nodes = trie.nodes
    for pair in range(1000):
        for last in (0, 1):
            insert(trie, version, pair << (bits - 10) | last << 3, bits)
    assert trie.nodes == nodes


def test_a_value_goes_with_its_prefix() -> None:
    trie = PrefixTrie()
    number = insert(trie, 4, 0x0A000000, 8)
    trie.remove(4, number)
    assert trie.values == [None, None]
    assert trie.find(4, *halves(4, 0x0A000000), 8) == 0


@pytest.mark.parametrize("size", [0, 3, 5, 15, 17])
def test_an_address_of_another_size_is_an_error(size: int) -> None:
    with pytest.raises(ValueError, match=f"{size} bytes"):
        PrefixTrie().lookup(bytes(size))
