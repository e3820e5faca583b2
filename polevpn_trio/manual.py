"""What ``--help`` says beyond the options: examples, rights, signals, exit status."""

from __future__ import annotations

OVERVIEW = """\
files and environment:
  Both roles are configured by a JSON file; README.md and the examples in conf/ explain every key.
  POLEVPN_TRIO_PURE=1   take the kernels as plain Python even where compiled ones are installed

exit status:
  0  after a clean end (SIGINT, SIGTERM), or when what was asked for is well
  1  something failed while running
  2  the command line or the configuration is wrong

examples:
  polevpn-trio check router.json
  sudo polevpn-trio router --config router.json
  polevpn-trio COMMAND --help
"""

_SIGNALS = """\
signals:
  SIGINT, SIGTERM   end cleanly: peers are told; addresses, routes, forwarding and NAT are
                    undone; a second one, later than 0.3 s, ends at once
  SIGHUP            read the configuration anew, as `reload` does; links stay. Ends the program
                    if the terminal that it was started from has been closed (without nohup).
  The flags of the PoleVPN originals, -config and -configPath, mean --config.
"""

ROUTER = f"""\
{_SIGNALS}
rights:
  Ports below 1024 need root or CAP_NET_BIND_SERVICE; a "site" in the configuration needs
  CAP_NET_ADMIN and /dev/net/tun. A router that only forwards needs neither. Started by root it
  becomes "user" of its configuration, if that says one, and keeps no other rights.

example:
  sudo polevpn-trio router --config /etc/polevpn/router.json --log-level debug
"""

GATEWAY = f"""\
{_SIGNALS}
rights:
  The TUN device, addresses and routes need root or CAP_NET_ADMIN, and /dev/net/tun. Started by
  root it becomes "user" of its configuration, if that says one, and keeps CAP_NET_ADMIN alone.

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

JOIN = """\
The string holds the site's key. Other users of this machine see the arguments of programs, and
the shell remembers them: without STRING it is asked for, or read from a pipe.
With --force, a file of the same site keeps what the string does not say, but no comments.

exit status:
  0  the file is written, for its owner only to read
  1  it cannot be written
  2  the string is damaged, or the file is there already

examples:
  polevpn-trio join --output /etc/polevpn/gateway.json
  ssh router polevpn-trio keys site berlin | polevpn-trio join -
"""

KEYS = """\
`keys WHAT --help` tells more. Files with secrets are written for their owner only to read.

examples:
  polevpn-trio keys router --name vpn.example.org
  polevpn-trio keys site berlin --network 192.168.1.0/24
"""

_STANDS_IN = """\
The site's file is in the `gateways_directory` of the router's configuration. A router that runs
sees what has changed when it is told to `reload`.
"""

_KEPT_SECRET = """\
stdout gets the join string and nothing else. It holds the site's key, of which the router keeps
but a hash: it cannot be shown again, only renewed.
"""

KEYS_OF = {
    "router": """\
An ECDSA key on P-256, and a certificate by which gateways know it again: by its fingerprint, so
that it needs no authority. Everybody who connects sees the names in it; without --name it says
"localhost".

When it is to be replaced, make a new one in another directory, tell the gateways both fingerprints
("verify_router" may be a list), change the router's file, and then take the old one away.

example:
  polevpn-trio keys router --directory /etc/polevpn --name vpn.example.org
""",
    "site": f"""\
{_STANDS_IN}
{_KEPT_SECRET}
examples:
  polevpn-trio keys site berlin --network 192.168.1.0/24 --network fd00:1::/64 --address6 fd08::2 \\
      --address 10.8.0.2 --server vpn.example.org
  polevpn-trio keys site consultant --expires 2027-06-30 --route 192.168.1.0/24
""",
    "list": """\
With --json, a list of objects: name, closed_because (why it is not let in, "" if it is), expires
(ISO 8601, null: never), keys (how many), certificates, addresses, networks, priority, rate_limit
(Mbit/s, null: none), source_check, file.

examples:
  polevpn-trio keys list
  polevpn-trio keys list berlin --config /etc/polevpn/router.json
  polevpn-trio keys list --json
""",
    "revoke": f"""\
{_STANDS_IN}
Sets "disabled"; take that out of the file to let the site in again.

example:
  polevpn-trio keys revoke berlin
""",
    "renew": f"""\
{_STANDS_IN}
Both keys are good until `keys drop-old`.

{_KEPT_SECRET}
example:
  polevpn-trio keys renew berlin
""",
    "drop-old": f"""\
{_STANDS_IN}
example:
  polevpn-trio keys drop-old berlin
""",
    "fingerprint": """\
As in "verify_router" of gateways, and in "certificate" of a router's sites.

example:
  polevpn-trio keys fingerprint server.crt
""",
}
"""By what `keys` is to do."""

DOCTOR = """\
what it does:
  Looks at what an expert would look at: rights, the TUN device, offloads, forwarding, routes,
  overlapping networks, firewall, ports, certificates, permissions of files, the clock. With a
  gateway's file it asks the routers, too, as a stranger would, without a key: whether names, UDP
  and TCP lead to them, whether they are the right ones, and how large packets may be.
  Nothing is changed: a TUN device and sockets are made, and taken away at once.

rights:
  Run it as the user that runs the router or gateway, so that it sees what that one may do;
  firewall rules are seen by root alone.

exit status:
  0  all is well
  1  there is something to mend, which is told with the command or the key that mends it
  2  the configuration has mistakes, or the command line is wrong

examples:
  sudo polevpn-trio doctor
  sudo polevpn-trio doctor /etc/polevpn/gateway.json
  sudo polevpn-trio doctor --offline --json router.json
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
    "reload": f"""\
Reads the file anew, applies what can be applied while running, and names what takes a restart.
A file with mistakes is refused, and all goes on as before. Only links of sites that would not be
let in any more are cut. A program that runs as another user is asked by that user or by root.

With --confirm it goes back to the configuration before unless `reload --confirmed` comes in time,
for which a gateway must have a link: so a mistake does not lose a site that is far away. The file
stays as it is: correct it before the next start.

{_ASKED}
exit status:
  0  applied, or nothing has changed, or confirmed
  1  refused, with the reasons: all goes on as before
  2  no program answers, or the command line is wrong

examples:
  polevpn-trio reload
  polevpn-trio reload --confirm 60
  polevpn-trio reload --confirmed
""",
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
  0  the packet gets there, or does not enter the tunnel
  1  it is dropped
  2  no program answers, or the command line is wrong

examples:
  polevpn-trio explain 10.8.0.2 192.168.5.9
  polevpn-trio explain 10.8.0.2 192.168.5.9 tcp 443
""",
}
"""By command that asks a running program."""
