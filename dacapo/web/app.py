"""The dashboard as an ASGI application, made with Starlette (the extra ``dacapo[dashboard]``)."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Any
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from dacapo.errors import DacapoError, NotFoundError
from dacapo.experiments.config_differences import config_differences
from dacapo.utils.paths import shown
from dacapo.web.catalogue import Card, Catalogue
from dacapo.web.guard import Guard
from dacapo.web.pages import render, static_text
from dacapo.web.run_view import compare_charts, view_run, with_leader
from dacapo.web.slices import slices_of

EVERY = 5
"""Seconds between updates of an open page."""

PER_PAGE = 200
MOST_COMPARED = 32

_KINDS = {"page.css": "text/css", "page.js": "text/javascript"}
_SCALES = ("auto", "linear", "log")
_FIELDS = ("task", "architecture", "trainer", "data")


def create_app(runs: Catalogue, hosts: Collection[str], token: str | None = None) -> Guard:
    """Return the application.

    Args:
        runs: The runs to show.
        hosts: Names under which the server is known; see `Guard`.
        token: Token that requests need.
    """
    pages = _Pages(runs)
    app = Starlette(
        routes=[
            Route("/", pages.list),
            Route("/run/{name}", pages.run),
            Route("/run/{name}/slices", pages.slices),
            Route("/compare", pages.compare),
            Route("/static/{name}", _static),
        ],
        exception_handlers={HTTPException: pages.problem, DacapoError: pages.problem},
    )
    return Guard(app, hosts, token)


class _Pages:
    """The pages; each method runs in a thread of its own."""

    def __init__(self, runs: Catalogue) -> None:
        self.runs = runs

    def list(self, request: Request) -> Response:
        cards = self.runs.cards()
        query = request.query_params
        words, sort = query.get("q", ""), query.get("sort", "name")
        found = sorted_cards([card for card in cards if matches(card, words)], sort)
        pages = max(1, math.ceil(len(found) / PER_PAGE))
        page = min(max(1, int(query["page"]) if query.get("page", "").isdecimal() else 1), pages)
        first = (page - 1) * PER_PAGE
        names = {card.name for card in cards}
        chosen = [name for name in dict.fromkeys(query.getlist("run")) if name in names]
        on_page = found[first : first + PER_PAGE]

        def link(**changed: Any) -> str:
            fields = {"q": words, "sort": sort, **changed}
            kept = [(name, value) for name, value in fields.items() if value and (name, value) != ("sort", "name")]
            return "/?" + urlencode([*kept, *(("run", name) for name in chosen)])

        return self._page(
            request,
            self._states(cards),
            lambda: {
                "cards": on_page, "q": words, "sort": sort, "chosen": chosen, "shown": {card.name for card in on_page},
                "total": len(found), "everything": len(cards), "page": page, "pages": pages, "first": first,
                "link": link,
            },
            "list.html",
        )  # fmt: skip

    def run(self, request: Request) -> Response:
        name = self._known(request)
        query = request.query_params
        scale = query["scale"] if query.get("scale") in _SCALES else "auto"

        def values() -> dict[str, Any]:
            return {"run": view_run(self.runs, name, query.get("criterion"), scale), "scale": scale}

        return self._page(request, self.runs.state([name]), values, "run.html")

    def slices(self, request: Request) -> Response:
        name = self._known(request)
        book = self.runs.scores(name)
        criterion = next(iter(book.main_criteria), None)

        def values() -> dict[str, Any]:
            return {"name": name, "groups": slices_of(book, criterion, self.runs.options)}

        return self._page(request, self.runs.state([name]), values, "slices.html")

    def compare(self, request: Request) -> Response:
        names = self.runs.names()
        query = request.query_params
        chosen = [name for name in dict.fromkeys(query.getlist("run")) if name in names][:MOST_COMPARED]
        if not chosen:
            raise HTTPException(404, "None of the runs to compare is stored.")
        scale = query["scale"] if query.get("scale") in _SCALES else "auto"

        def values() -> dict[str, Any]:
            views = with_leader([view_run(self.runs, name, query.get("criterion")) for name in chosen])
            criteria = list(dict.fromkeys(name for view in views for name in view.criteria))
            criterion = query.get("criterion") if query.get("criterion") in criteria else next(iter(criteria), None)
            readable = [self.runs.config(view.name) for view in views if view.settings]
            return {
                "runs": views, "chosen": chosen, "criteria": criteria, "criterion": criterion, "scale": scale,
                "figures": compare_charts(self.runs, views, criterion, scale),
                "differences": config_differences(readable) if len(readable) == len(views) else [],
            }  # fmt: skip

        return self._page(request, self.runs.state(chosen), values, "compare.html")

    def problem(self, request: Request, error: Exception) -> Response:
        """Return a page that says what went wrong."""
        code = (
            error.status_code if isinstance(error, HTTPException) else 404 if isinstance(error, NotFoundError) else 500
        )
        message = error.detail if isinstance(error, HTTPException) else str(error)
        title = "Not found" if code == 404 else "This cannot be shown"
        page = render("problem.html", title=title, message=message, home=True, **self._frame(""))
        return HTMLResponse(page, code)

    def _known(self, request: Request) -> str:
        name = str(request.path_params["name"])
        self.runs.configs.run_config_state(name)  # raises an error if there is no such run
        return name

    def _states(self, cards: Sequence[Card]) -> Hashable:
        return tuple((card, card.status) for card in cards)

    def _page(self, request: Request, state: Hashable, values: Callable[[], dict[str, Any]], template: str) -> Response:
        """Return a page, or only that it has not changed since the browser read it."""
        text = repr((state, str(request.url.path), str(request.url.query)))
        tag = f'"{hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"ETag": tag})
        return HTMLResponse(render(template, **self._frame(tag), **values()), headers={"ETag": tag})

    def _frame(self, tag: str) -> dict[str, Any]:
        return {"place": shown(self.runs.options.runs_base_dir), "every": EVERY, "tag": tag}


def matches(card: Card, words: str) -> bool:
    """Return whether a run matches all words of a filter.

    Args:
        card: The run.
        words: Parts of its name or of the kinds of its parts, or ``field:part``, with the fields ``name``, ``task``,
            ``architecture``, ``trainer``, ``data`` and ``status``. A ``-`` in front excludes. Case does not count.
    """
    fields = {"name": card.name, "status": card.status, **dict(zip(_FIELDS, card.parts, strict=False))}
    text = " ".join((*fields.values(), "problem" if card.problem else "")).lower()

    def has(word: str) -> bool:
        field, separator, part = word.partition(":")
        return part in fields[field].lower() if separator and field in fields else word in text

    return all(
        has(word[1:]) != word.startswith("-") if word[0] == "-" and word[1:] else has(word)
        for word in words.lower().split()
    )


def sorted_cards(cards: Sequence[Card], sort: str) -> list[Card]:
    """Return runs in an order, those without a value last.

    Args:
        cards: The runs.
        sort: ``name``, ``status``, ``trained``, ``loss``, ``best`` (the best score first) or ``changed``; with a ``-``
            in front, the other way round.
    """
    keys: dict[str, Callable[[Card], Any]] = {
        "name": lambda card: natural(card.name),
        "status": lambda card: card.status,
        "trained": lambda card: card.trained,
        "loss": lambda card: card.loss,
        "best": lambda card: None if card.score is None else -card.score if card.higher else card.score,
        "changed": lambda card: None if card.changed is None else -card.changed,
    }
    key = keys.get(sort.lstrip("-"), keys["name"])

    def is_known(card: Card) -> bool:
        value = key(card)
        return value is not None and value == value

    known = sorted((card for card in cards if is_known(card)), key=key, reverse=sort.startswith("-"))
    return [*known, *(card for card in cards if not is_known(card))]


def natural(name: str) -> list[Any]:
    """Return a key that sorts numbers in names by their value.

    >>> sorted(["run10", "run9", "Run1"], key=natural)
    ['Run1', 'run9', 'run10']
    """
    parts = re.split(r"([0-9]+)", name.lower())
    return [(int(part), "") if part.isascii() and part.isdigit() else (-1, part) for part in parts]


def _static(request: Request) -> Response:
    name = str(request.path_params["name"])
    if name not in _KINDS:
        raise HTTPException(404, "There is no such file.")
    return Response(static_text(name), media_type=_KINDS[name])
