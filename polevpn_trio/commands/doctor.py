"""``doctor``: examine this machine, a configuration and the way to its routers.

::

    0   all is well
    1   there is something to mend
    2   the configuration has mistakes, or the command line is wrong
    130 interrupted before all was seen
"""

from __future__ import annotations

import argparse
import json

import trio
from rich.console import Console

from polevpn_trio.commands import doctor_view
from polevpn_trio.commands.doctor_progress import ExaminationProgress
from polevpn_trio.commands.inspect import show
from polevpn_trio.control.config import GatewayConfig, RouterConfig, load_any
from polevpn_trio.doctor import examination
from polevpn_trio.doctor.examination import Section
from polevpn_trio.doctor.files import judge_mistakes
from polevpn_trio.doctor.finding import Status
from polevpn_trio.errors import ConfigError

EXIT_WELL, EXIT_ILL, EXIT_MISTAKEN, EXIT_INTERRUPTED = 0, 1, 2, 130


def doctor_command(options: argparse.Namespace) -> int:
    """Examine, show, and say by the exit status how it is."""
    config: RouterConfig | GatewayConfig | None = None
    mistakes: Section | None = None
    if options.config is not None:
        try:
            config = load_any(options.config)
        except ConfigError as error:
            mistakes = Section("configuration", tuple(judge_mistakes(error)))
    sections = [examination.examine_machine(config)]
    if config is not None:
        sections.append(examination.examine_files(config))
        sections.append(examination.examine_network(config))
    else:
        sections.append(mistakes or examination.no_configuration())
    interrupted = False
    if isinstance(config, GatewayConfig) and not options.offline:
        try:
            with ExaminationProgress(Console(stderr=True), silent=options.json) as progress:
                sections += trio.run(examination.examine_routers, config, progress.tell)
        # It may have reached any of the tasks, and then comes in a group.
        except* KeyboardInterrupt:
            interrupted = True
    if interrupted:
        return EXIT_INTERRUPTED
    state = examination.worst(sections)
    if options.json:
        print(json.dumps(doctor_view.as_json(sections, state.value), indent=2))
    else:
        console = Console(highlight=False)
        show(console, doctor_view.render(sections), doctor_view.lines(sections))
    if mistakes is not None:
        return EXIT_MISTAKEN
    return EXIT_WELL if state is Status.OK else EXIT_ILL
