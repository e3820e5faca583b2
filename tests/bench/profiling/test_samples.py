"""Which part of the work a sample of perf belongs to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.profiling.samples import (
    AES_GCM,
    COPYING,
    GROUPS,
    KERNELS,
    LINUX,
    LINUX_COPYING,
    OTHER,
    PYTHON,
    Sample,
    group_of,
    parse_samples,
)

SITE = "/opt/venv/lib/python3.11/site-packages"
LIBC = "/usr/lib/x86_64-linux-gnu/libc.so.6"
ABI = "cpython-311-x86_64-linux-gnu.so"


@pytest.mark.parametrize(
    ("symbol", "binary", "group"),
    [
        ("_PyEval_EvalFrameDefault", "/usr/lib/libpython3.11.so.1.0", (PYTHON, "")),
        ("_PyEval_EvalFrameDefault", "/usr/bin/python3.13", (PYTHON, "")),
        ("sock_recvmsg", f"/usr/lib/python3.11/lib-dynload/_socket.{ABI}", (PYTHON, "")),
        ("PySSL_SSLwrite", f"/usr/lib/python3.11/lib-dynload/_ssl.{ABI}", (PYTHON, "")),
        ("cdata_call", f"{SITE}/_cffi_backend.{ABI}", (PYTHON, "")),
        ("_seal", f"/srv/polevpn_trio/transport/records.{ABI}", (KERNELS, "records")),
        ("sum_words", f"{SITE}/polevpn_trio/frames/ip.{ABI}", (KERNELS, "ip")),
        # A folder of our name around everything makes nothing else ours.
        ("call", f"/home/polevpn_trio/.venv/lib/_cffi_backend.{ABI}", (PYTHON, "")),
        ("[unknown]", "/usr/lib/x86_64-linux-gnu/libcrypto.so.3", (AES_GCM, "")),
        ("SSL_write", "/usr/lib/x86_64-linux-gnu/libssl.so.3", (AES_GCM, "")),
        ("EVP_DecryptUpdate", f"{SITE}/cryptography/_rust.abi3.so", (AES_GCM, "")),
        ("__memmove_avx512_unaligned_erms", LIBC, (COPYING, "")),
        ("memcpy@@GLIBC_2.14", LIBC, (COPYING, "")),
        ("__strcmp_evex", LIBC, (OTHER, "")),
        ("_int_malloc", LIBC, (OTHER, "")),
        ("__vdso_clock_gettime", "[vdso]", (OTHER, "")),
        ("[unknown]", "[unknown]", (OTHER, "")),
    ],
)
def test_a_program_s_own_work_is_told_apart_by_library_and_function(
    symbol: str, binary: str, group: tuple[str, str]
) -> None:
    assert group_of(Sample(1, 0x7F9E30C430AC, symbol, binary)) == group


@pytest.mark.parametrize(
    ("symbol", "part"),
    [
        ("_copy_from_iter", LINUX_COPYING),
        ("rep_movs_alternative", LINUX_COPYING),
        ("copy_user_generic", LINUX_COPYING),
        ("copy_page_to_iter", LINUX_COPYING),
        ("__memcpy", LINUX_COPYING),
        ("udp_sendmsg", ""),
        ("skb_copy_datagram_iter", ""),
        ("[unknown]", ""),
    ],
)
def test_linux_is_the_upper_half_of_the_addresses_whatever_perf_calls_it(
    symbol: str, part: str
) -> None:
    for binary in ("[kernel.kallsyms]", "[tun]", "/usr/lib/debug/vmlinux", "[unknown]"):
        assert group_of(Sample(1, 0xFFFFFFFF822010C9, symbol, binary)) == (LINUX, part)


@given(st.integers(0, 2**64 - 1), st.text(), st.text())
def test_every_sample_has_a_group(address: int, symbol: str, binary: str) -> None:
    assert group_of(Sample(1, address, symbol, binary))[0] in GROUPS


def test_the_output_of_perf_script_is_read() -> None:
    text = (
        " 7201  ffffffff822010c9 _raw_spin_unlock_irqrestore ([kernel.kallsyms])\n"
        " 7204      7f830ef006b1 [unknown] (/usr/lib/x86_64-linux-gnu/libcrypto.so.3)\n"
        "\n"
        "   12      7f830ef006b1 <T as core::fmt::Display>::fmt (.llvm.7) (/x/_rust.abi3.so)\n"
    )
    assert list(parse_samples(text)) == [
        Sample(7201, 0xFFFFFFFF822010C9, "_raw_spin_unlock_irqrestore", "[kernel.kallsyms]"),
        Sample(7204, 0x7F830EF006B1, "[unknown]", "/usr/lib/x86_64-linux-gnu/libcrypto.so.3"),
        Sample(12, 0x7F830EF006B1, "<T as core::fmt::Display>::fmt (.llvm.7)", "/x/_rust.abi3.so"),
    ]


def test_what_is_no_sample_is_not_passed_over() -> None:
    with pytest.raises(ValueError, match="no sample: WARNING"):
        list(parse_samples("WARNING: something is missing\n"))
