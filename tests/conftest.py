"""What all tests share: which build of the kernels runs, seeds, certificates, and the lab's marker.

Environment that shapes a run: ``POLEVPN_TRIO_PURE=1`` takes the kernels as plain Python;
``POLEVPN_TRIO_EXPECT_BUILD=compiled`` fails the run when it is not the build meant;
``POLEVPN_TRIO_SEEDS=N`` runs each simulation with N seeds.
"""

from __future__ import annotations

import datetime
import importlib.util
import ipaddress
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, Phase, settings

from polevpn_trio import kernels

# The same examples on every run: a gate that fails at random teaches people to run it twice.
# Whoever hunts for new failures takes --hypothesis-profile=thorough.
settings.register_profile(
    "gate",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("brief", settings.get_profile("gate"), max_examples=25)
# For mutants, of which nobody reads the example: no time is spent on making it small.
settings.register_profile(
    "verdict", settings.get_profile("gate"), phases=(Phase.explicit, Phase.generate)
)
settings.register_profile("thorough", deadline=None, max_examples=2000, print_blob=True)
settings.load_profile("gate")


def existing_kernels() -> list[str]:
    return [name for name in kernels.KERNELS if importlib.util.find_spec(name)]


def build_in_use() -> str:
    """Tell ``compiled``, ``pure``, or ``mixed``."""
    origins = [importlib.util.find_spec(name) for name in existing_kernels()]
    plain = [(spec.origin or "").endswith(".py") for spec in origins if spec]
    if all(plain):
        return "pure"
    return "mixed" if any(plain) else "compiled"


def pytest_report_header() -> str:
    return f"kernels: {build_in_use()}"


def pytest_sessionstart() -> None:
    expected = os.environ.get("POLEVPN_TRIO_EXPECT_BUILD")
    if expected and build_in_use() != expected:
        raise pytest.UsageError(
            f"the kernels' build in use is {build_in_use()}, expected {expected}"
        )
    # A shell has what runs in its background ignore interrupts, and so would all programs that
    # tests start and interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def kernel_build() -> str:
    """The build of the kernels that the tests run on: ``compiled``, ``pure``, or ``mixed``."""
    return build_in_use()


@pytest.fixture(scope="session")
def seeds() -> Callable[[int], range]:
    """Give the seeds that a simulation runs over: ``for seed in seeds(200): ...``.

    The argument is how many the test wants by default; ``POLEVPN_TRIO_SEEDS`` overrides it.
    """

    def of(default: int) -> range:
        return range(int(os.environ.get("POLEVPN_TRIO_SEEDS") or default))

    return of


# --- The lab -----------------------------------------------------------------------------


def why_no_lab() -> str | None:
    """Tell why namespaces or TUN devices cannot be had here; None if they can."""
    try:
        from polevpn_trio.lab import namespaces
    except ImportError as error:
        return f"the lab does not import: {error}"
    return namespaces.unavailable_reason()


@pytest.fixture(scope="session")
def lab_obstacle() -> str | None:
    return why_no_lab()


@pytest.fixture(autouse=True)
def _skip_without_lab(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("needs_root_lab"):
        obstacle = request.getfixturevalue("lab_obstacle")
        if obstacle:
            pytest.skip(obstacle)


# --- Certificates ------------------------------------------------------------------------


@attrs.frozen
class Certificate:
    """A self-signed certificate and its key, both PEM."""

    cert_file: Path
    key_file: Path


@attrs.frozen
class Certificates:
    """One certificate of each key type that routers are run with."""

    rsa: Certificate
    ecdsa: Certificate


def write_certificate(
    folder: Path, name: str, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
) -> Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"polevpn_trio test {name}")])
    now = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("::1")),
    ]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    made = Certificate(folder / f"{name}.crt", folder / f"{name}.key")
    made.cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    made.key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return made


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Self-signed certificates for localhost: ``.rsa`` (2048 bits) and ``.ecdsa`` (P-256)."""
    folder = tmp_path_factory.mktemp("certificates")
    return Certificates(
        rsa=write_certificate(folder, "rsa", rsa.generate_private_key(65537, 2048)),
        ecdsa=write_certificate(folder, "ecdsa", ec.generate_private_key(ec.SECP256R1())),
    )


# --- Control sockets -----------------------------------------------------------------------


@pytest.fixture(autouse=True, scope="session")
def _own_runtime_folder() -> Iterator[None]:
    """Let programs make their control sockets where nobody else's are, and paths stay short."""
    with TemporaryDirectory(prefix="polevpn-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNTIME_DIRECTORY", folder)
        yield
