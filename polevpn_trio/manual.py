"""What ``--help`` says beyond the options: examples, rights, signals, exit status."""

from __future__ import annotations

OVERVIEW = """\
files and environment:
  Both roles are configured by a JSON file; README.md and the examples in conf/ explain every key.
  POLEVPN_TRIO_PURE=1   take the kernels as plain Python even where compiled ones are installed

exit status:
  0  after a clean end (SIGINT, SIGTERM, SIGHUP), or when what was asked for is well
  1  something failed while running
  2  the command line or the configuration is wrong

examples:
  polevpn-trio check router.json
  sudo polevpn-trio router --config router.json
  polevpn-trio COMMAND --help
"""

_SIGNALS = """\
signals:
  SIGINT, SIGTERM, SIGHUP   end cleanly: peers are told; addresses, routes, forwarding and NAT
                            are undone; a second one, later than 0.3 s, ends at once
  The flags of the PoleVPN originals, -config and -configPath, mean --config.
"""

ROUTER = f"""\
{_SIGNALS}
rights:
  Ports below 1024 need root or CAP_NET_BIND_SERVICE; a "site" in the configuration needs
  CAP_NET_ADMIN and /dev/net/tun. A router that only forwards needs neither.

example:
  sudo polevpn-trio router --config /etc/polevpn/router.json --log-level debug
"""

GATEWAY = f"""\
{_SIGNALS}
rights:
  The TUN device, addresses and routes need root or CAP_NET_ADMIN, and /dev/net/tun.

example:
  sudo polevpn-trio gateway --config /etc/polevpn/gateway.json
"""

CHECK = """\
exit status:
  0  a good configuration, which is told in short
  2  mistakes, each in one line that names file, key and what was expected

example:
  polevpn-trio check /etc/polevpn/gateway.json
"""

COMPLETION = """\
examples:
  polevpn-trio completion bash > /etc/bash_completion.d/polevpn-trio
  polevpn-trio completion zsh > "${fpath[1]}/_polevpn-trio"
  polevpn-trio completion fish > ~/.config/fish/completions/polevpn-trio.fish
"""

_ASKED = """\
The answer comes from the router or gateway on this machine, over its control socket.
"""

_ANSWERED = """\
exit status:
  0  answered
  2  no program answers, or the command line is wrong
"""

ASKING = {
    "status": f"""\
{_ASKED}
exit status:
  0  all sites are up
  1  a site is down, or somebody should have a look
  2  no program answers, or the command line is wrong

examples:
  polevpn-trio status
  polevpn-trio status --over 10 --json
  polevpn-trio status --tree
""",
    "top": f"""\
{_ASKED}
{_ANSWERED}
example:
  polevpn-trio top --every 2
""",
    "routes": f"""\
{_ASKED}
{_ANSWERED}
examples:
  polevpn-trio routes
  polevpn-trio routes 10.1.0.0
""",
    "events": f"""\
{_ASKED}
{_ANSWERED}
examples:
  polevpn-trio events --number 20
  polevpn-trio events --follow --level warning
""",
    "explain": f"""\
{_ASKED}
exit status:
  0  the packet gets there
  1  it is dropped
  2  no program answers, or the command line is wrong

example:
  polevpn-trio explain 10.8.0.2 192.168.5.9
""",
}
"""By command that asks a running program."""
