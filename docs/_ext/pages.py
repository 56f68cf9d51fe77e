"""Write the pages that are made from the package itself: the reference, the command line, and the notebooks."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from sphinx.application import Sphinx

USED = {
    "dacapo",
    "dacapo.blockwise",
    "dacapo.compute_context",
    "dacapo.experiments",
    "dacapo.experiments.architectures",
    "dacapo.experiments.datasplits",
    "dacapo.experiments.datasplits.datasets",
    "dacapo.experiments.datasplits.datasets.arrays",
    "dacapo.experiments.loggers",
    "dacapo.experiments.starts",
    "dacapo.experiments.tasks",
    "dacapo.experiments.trainers",
    "dacapo.experiments.trainers.gp_augments",
    "dacapo.export",
    "dacapo.runs",
    "dacapo.store",
}
"""Packages that users need; the others are for those who extend dacapo."""


def modules(package: str) -> list[tuple[str, list[str]]]:
    """Return all packages inside a package, itself first, each with the modules that are directly in it."""
    root = importlib.import_module(package)
    found = {package: []}
    for module in sorted(pkgutil.walk_packages(root.__path__, f"{package}."), key=lambda entry: entry.name):
        if module.ispkg:
            found[module.name] = []
        elif not module.name.rpartition(".")[2].startswith("_"):
            found[module.name.rpartition(".")[0]].append(module.name)
    return list(found.items())


def reference(folder: Path) -> None:
    """Write a page for each package, and a list of all."""
    packages = modules("dacapo")
    for package, names in packages:
        _write(folder / f"{package}.rst", _package_page(package, names))
    parts = [
        ("For users", "What scripts and notebooks call, and the configs.", True),
        ("For extending dacapo", "Base classes of own parts, and what they can build on.", False),
    ]
    text = (
        "Reference\n=========\n\nAll public modules, made from their docstrings. Names that a package exports are "
        "described in the module that defines them.\n"
    )
    for title, about, is_used in parts:
        entries = [f"   {_breakable(name)} <{name}>" for name, _ in packages if (name in USED) is is_used]
        toctree = "\n".join([".. toctree::", "   :maxdepth: 1", f"   :caption: {title}", "", *entries])
        text += f"\n{title}\n{'-' * len(title)}\n\n{about}\n\n{toctree}\n"
    _write(folder / "index.rst", text)


def _breakable(name: str) -> str:
    """Return a dotted name that breaks after dots where it is too long, and not inside a word."""
    return name.replace(".", ".\u200b")


def _package_page(package: str, names: list[str]) -> str:
    lines = [package, "=" * len(package), "", f".. automodule:: {package}", "   :no-members:", ""]
    for name in names:
        lines += [name, "-" * len(name), "", f".. automodule:: {name}", "   :ignore-module-all:", ""]
    return "\n".join(lines)


def command_line(path: Path) -> None:
    """Write the page of the command line, from what ``--help`` reads too."""
    from dacapo.cli import cli

    intro = (
        "# Command line\n\nEvery command has `--help`. Errors a user can fix are printed on one line, and the exit "
        "status is 1 then; `dacapo --log-level DEBUG` shows where they come from. A command that was "
        "interrupted exits with status 130. Arguments in capitals are given by position or by name: "
        "`dacapo train RUN_NAME` is `dacapo train --run-name RUN_NAME`. In names, `-` and `_` are the same.\n\n"
    )
    _write(path, intro + "\n".join(_command(cli, ["dacapo"], None)))


def _command(command: click.Command, names: list[str], parent: click.Context | None) -> list[str]:
    context = click.Context(command, info_name=names[-1], parent=parent, **command.context_settings)
    lines = [f"## `{' '.join(names)}`", "", *_help_text(command), "```text", context.get_usage(), "```", ""]
    options = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    rows = [record for record in options if record is not None and record[1] and not record[0].startswith("-h")]
    if rows:
        lines += ["| option | meaning |", "|---|---|"]
        lines += [f"| `{_cell(flags)}` | {_cell(text)} |" for flags, text in rows]
        lines.append("")
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None and not inner.hidden:
                lines += _command(inner, [*names, name], context)
    return lines


def _help_text(command: click.Command) -> list[str]:
    # A line with \b alone keeps what follows as it is.
    paragraphs = (command.help or "").split("\n\n")
    lines = []
    for paragraph in paragraphs:
        if paragraph.startswith("\b"):
            lines += ["```text", paragraph.removeprefix("\b").strip("\n"), "```", ""]
        else:
            lines += [" ".join(paragraph.split()).replace("<", "\\<").replace("[", "\\["), ""]
    return lines


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def notebook(source: Path, recorded: Path, target: Path) -> None:
    """Write a notebook as a page, with the outputs that were recorded when it was last run as a whole.

    Args:
        source: The notebook, which is stored without outputs.
        recorded: Folder of texts and pictures, named by the ids of their cells; see ``docs/run_notebooks.py``.
        target: The page.
    """
    lines: list[str] = []
    for cell in json.loads(source.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            lines += [text, ""]
            continue
        language = "text" if text.startswith("!") else "python"  # a command of the shell, or code
        lines += [f"```{language}", text, "```", "", *_outputs(recorded, cell["id"], target.parent)]
    lines += [f"The notebook is `examples/{source.name}`.", ""]
    _write(target, "\n".join(lines))


def _outputs(recorded: Path, cell: str, page_folder: Path) -> list[str]:
    printed, lines = recorded / f"{cell}.txt", []
    if printed.is_file():
        lines += ["```text", printed.read_text(encoding="utf-8").rstrip("\n"), "```", ""]
    for picture in sorted(recorded.glob(f"{cell}_*.png")):
        lines += [f"![]({os.path.relpath(picture, page_folder)})", ""]
    return lines


def _write(path: Path, text: str) -> None:
    """Write a file if its content changes, so that pages are not built again for nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def write_pages(app: Sphinx) -> None:
    """Write all pages before Sphinx looks for sources."""
    folder = Path(app.srcdir) / "_generated"
    reference(folder / "reference")
    kept = {f"{package}.rst" for package, _ in modules("dacapo")} | {"index.rst"}
    for path in (folder / "reference").glob("*.rst"):
        if path.name not in kept:
            path.unlink()
    command_line(folder / "cli.md")
    for source in sorted((Path(app.srcdir).parent / "examples").glob("*.ipynb")):
        name = source.stem
        notebook(source, Path(app.srcdir) / "notebooks" / name, folder / "notebooks" / f"{name}.md")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True}
