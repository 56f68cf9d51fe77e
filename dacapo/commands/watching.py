"""The commands that show runs and data in a browser: report, dashboard, view."""

from __future__ import annotations

import threading
import webbrowser
from contextlib import suppress
from pathlib import Path

import click


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    show_default="RUN.html, or runs.html of several",
    help="File to write.",
)
@click.option(
    "-c",
    "--criterion",
    metavar="NAME",
    show_default="voi, or the first one of the task",
    help="The score that decides which checkpoint and run is best.",
)
@click.option(
    "--predict/--no-predict",
    default=True,
    show_default="predict",
    help="Predict the pictured sections with the best checkpoint.",
)
def report(
    runs: tuple[str, ...], output: Path | None = None, criterion: str | None = None, predict: bool = True
) -> None:
    """Write a report on one or several runs as one HTML file, which needs no network.

    It shows losses, scores, what is best and why, configs and their differences, and sections through the validation
    data beside truth, prediction and segmentation.
    """
    from dacapo.report import report as write_report

    click.echo(str(write_report(*runs, output=output, criterion=criterion, predict=predict)))


@click.command()
@click.option(
    "--host", default="127.0.0.1", metavar="ADDRESS", help="Address to listen to; by default this machine only."
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8765, metavar="NUMBER", help="Port; 0 for any that is free."
)
@click.option(
    "--token",
    envvar="DACAPO_DASHBOARD_TOKEN",
    show_envvar=True,
    metavar="TEXT",
    help="Secret that a browser needs. One is made if other machines reach the address.",
)
@click.option(
    "--name", "names", multiple=True, metavar="NAME", help="Another name of this server, such as that of a proxy."
)
@click.option("--browser/--no-browser", default=False, help="Open a browser.")
def dashboard(
    host: str = "127.0.0.1",
    port: int = 8765,
    token: str | None = None,
    names: tuple[str, ...] = (),
    browser: bool = False,
) -> None:
    """Show all runs in a browser while they train: a list with filters, comparisons, scores, pictures. Ctrl-C ends it.

    Nothing can be changed through it. It needs the extra dacapo[dashboard].
    """
    from dacapo.dashboard import Dashboard

    server = Dashboard(host, port, token, names)

    def ready() -> None:
        click.echo(server.url)
        if browser:
            webbrowser.open(server.url)

    with suppress(KeyboardInterrupt):
        server.serve(ready)


@click.command()
@click.argument("targets", nargs=-1, required=True, metavar="RUN|PATH...")
@click.option("-c", "--criterion", metavar="NAME", help="The score that selects the best segmentation of runs.")
@click.option(
    "--host", default="127.0.0.1", metavar="ADDRESS", help="Address to listen to; by default this machine only."
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, metavar="NUMBER", help="Port; 0 for any that is free."
)
@click.option("--browser/--no-browser", default=True, show_default="browser", help="Open a browser.")
def view(
    targets: tuple[str, ...],
    criterion: str | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    browser: bool = True,
) -> None:
    """Show runs and arrays in neuroglancer, at their positions in the world. Ctrl-C ends it.

    Of a run it shows the validation data and the best segmentation so far, and follows new validations; of a container
    all arrays. It needs the extra dacapo[neuroglancer].
    """
    from dacapo.view import View

    shown = View(*targets, host=host, port=port, criterion=criterion)
    with suppress(KeyboardInterrupt):
        click.echo(shown.url)
        if browser:
            webbrowser.open(shown.url)
        threading.Event().wait()
    shown.close()


COMMANDS = (report, dashboard, view)
