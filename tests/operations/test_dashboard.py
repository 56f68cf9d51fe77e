"""The dashboard as a server: what it answers, and whom it refuses."""

from __future__ import annotations

import html
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from dacapo.dashboard import Dashboard
from dacapo.errors import ConfigError
from dacapo.options import Options
from dacapo.store.create_store import create_config_store
from dacapo.web.app import PER_PAGE, matches, sorted_cards
from dacapo.web.catalogue import Card, Catalogue
from tests.helpers.pages import HOSTILE, add_losses, ask, served, store_run
from tests.helpers.runs import dummy_run_config

EVIL = HOSTILE.replace("/", "")


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    folder = tmp_path_factory.mktemp("dashboard")
    with Options.override(runs_base_dir=folder / "runs"):
        store_run(folder, "first")
        store_run(folder, "second", 30, learning_rate=0.5)
        store_run(folder, EVIL, 10)
        # No validation data can be opened, and the config of another is damaged.
        (folder / "runs" / "configs" / "runs" / "damaged.yaml").write_text("task_config: [")
        with served() as server:
            yield server


def page(dashboard: Dashboard, path: str) -> str:
    answer = ask(f"{dashboard.url.rstrip('/')}{path}")
    assert answer.status == 200, answer.text
    return answer.text


def names_in(text: str) -> list[str]:
    return [html.unescape(part.split('"')[0]) for part in text.split('<tr data-run="')[1:]]


class TestPages:
    def test_the_list_has_all_runs(self, dashboard: Dashboard) -> None:
        text = page(dashboard, "/")
        assert names_in(text) == [EVIL, "damaged", "first", "second"]
        assert "not valid YAML" in text
        assert "4 of 4 runs" in text

    def test_filter_and_order_are_in_the_address(self, dashboard: Dashboard) -> None:
        assert names_in(page(dashboard, "/?q=task:affinities&sort=-trained")) == ["first", "second", EVIL]
        assert names_in(page(dashboard, "/?q=FIR")) == ["first"]
        assert names_in(page(dashboard, "/?q=nothing")) == []
        assert "checked" in page(dashboard, "/?run=first").split('data-run="first"')[1].split("</tr>")[0]

    def test_a_run(self, dashboard: Dashboard) -> None:
        text = page(dashboard, "/run/first")
        assert "iteration 40 with" in text
        assert "trainer_config.learning_rate" in text
        assert text.count("<svg class") == 2
        assert "voi_split" in page(dashboard, "/run/first?criterion=voi_split").split("figcaption")[3]

    def test_slices(self, dashboard: Dashboard) -> None:
        text = page(dashboard, "/run/first/slices")
        assert text.count("data:image/png;base64,") == 2
        assert "Truth" in text

    def test_comparison(self, dashboard: Dashboard) -> None:
        text = page(dashboard, "/compare?run=first&run=second&run=first&run=unknown")
        assert "Comparison of 2 runs" in text
        row = text.split("trainer_config.learning_rate")[1].split("</tr>")[0]
        assert "0.001" in row
        assert "0.5" in row
        assert "best of these" in text

    def test_unknown_pages(self, dashboard: Dashboard) -> None:
        for path in ("/run/unknown", "/compare?run=unknown", "/static/../app.py", "/run/..%2f..%2fsecret", "/nothing"):
            assert ask(dashboard.url.rstrip("/") + path).status == 404

    def test_names_are_text_everywhere(self, dashboard: Dashboard) -> None:
        for path in (
            "/",
            f"/run/{quote(EVIL, safe='')}",
            f"/compare?run=first&run={quote(EVIL)}",
            f"/?q={quote(EVIL)}",
        ):
            text = page(dashboard, path)
            assert html.escape(EVIL, quote=False)[:10] in text
            assert "<img src=x" not in text

    def test_an_update_costs_nothing_until_something_changes(self, dashboard: Dashboard) -> None:
        for path in ("", "run/first", "compare?run=first&run=second"):
            first = ask(dashboard.url + path)
            again = ask(dashboard.url + path, If_None_Match=first.headers["ETag"])
            assert (again.status, again.text) == (304, "")


def test_new_losses_show(tmp_path: Path) -> None:
    with Options.override(runs_base_dir=tmp_path / "runs"):
        store_run(tmp_path, "growing", 10)
        with served() as server:
            before = [ask(server.url + path) for path in ("", "run/growing")]
            add_losses("growing", 33)
            after = [
                ask(server.url + path, If_None_Match=old.headers["ETag"])
                for path, old in zip(("", "run/growing"), before, strict=True)
            ]
    assert [answer.status for answer in after] == [200, 200]
    assert "33 of 100 iterations" in after[1].text


def test_many_runs_come_in_pages(tmp_path: Path) -> None:
    with Options.override(runs_base_dir=tmp_path):
        store = create_config_store()
        for number in range(PER_PAGE + 5):
            store.store_run_config(dummy_run_config(f"run{number}"))
        with served() as server:
            first, second = page(server, "/"), page(server, "/?page=2&q=run")
    assert len(names_in(first)) == PER_PAGE
    assert names_in(second) == [f"run{number}" for number in range(PER_PAGE, PER_PAGE + 5)]


class TestSafety:
    def test_pages_can_only_be_read(self, dashboard: Dashboard) -> None:
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            assert ask(dashboard.url, method).status == 405

    @pytest.mark.parametrize(
        "host", ["evil.example", "127.0.0.1.evil.example", "", "169.254.1.1", "[::1", "localhost@x"]
    )
    def test_other_names_of_the_server_are_refused(self, dashboard: Dashboard, host: str) -> None:
        assert ask(dashboard.url, Host=host).status in (400, 421)

    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1:99", "[::1]:8765", "LOCALHOST"])
    def test_its_own_names_are_not(self, dashboard: Dashboard, host: str) -> None:
        assert ask(dashboard.url, Host=host).status == 200

    def test_headers_restrict_the_browser(self, dashboard: Dashboard) -> None:
        for path in ("", "nothing", "static/page.js"):
            headers = ask(dashboard.url + path).headers
            assert "default-src 'none'" in headers["Content-Security-Policy"]
            assert "unsafe" not in headers["Content-Security-Policy"]
            assert (headers["X-Frame-Options"], headers["X-Content-Type-Options"]) == ("DENY", "nosniff")
            assert headers.get("Server") is None

    def test_with_a_token_nothing_is_read_without_it(self, tmp_path: Path) -> None:
        with Options.override(runs_base_dir=tmp_path), served(token="secret") as server:
            base = f"http://127.0.0.1:{server.port}"
            for path, headers in (
                ("/", {}),
                ("/static/page.js", {}),
                ("/", {"Authorization": "Bearer wrong"}),
                ("/", {"Cookie": "dacapo-token=wrong"}),
                ("/?token=wrong", {}),
                ("/?token=s%C3%A9cret", {}),
            ):
                assert ask(base + path, **headers).status == 401
            entered = ask(base + "//evil.example/?q=a&token=secret")
            assert (entered.status, entered.headers["Location"]) == (303, "/evil.example/?q=a")
            assert "HttpOnly" in entered.headers["Set-Cookie"]
            assert "samesite=strict" in entered.headers["Set-Cookie"].lower()
            cookie = entered.headers["Set-Cookie"].partition(";")[0]
            assert ask(base, Cookie=cookie).status == 200
            assert ask(base, Authorization="Bearer secret").status == 200

    def test_open_to_others_there_is_always_a_token(self, tmp_path: Path) -> None:
        with Options.override(runs_base_dir=tmp_path), served(host="0.0.0.0") as server:
            assert server.token is not None
            assert len(server.token) >= 32
            assert server.token in server.url
            assert ask(f"http://127.0.0.1:{server.port}/").status == 401
            answer = ask(
                f"http://127.0.0.1:{server.port}/", Authorization=f"Bearer {server.token}", Host="evil.example"
            )
            assert answer.status == 421

    def test_by_default_only_this_machine_is_served(self, dashboard: Dashboard) -> None:
        assert dashboard._socket.getsockname()[0] == "127.0.0.1"

    def test_a_port_in_use_is_an_error(self, dashboard: Dashboard) -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            with pytest.raises(ConfigError, match="another --port"):
                Dashboard(port=other.getsockname()[1])
        with pytest.raises(ConfigError, match="cannot listen"):
            Dashboard(host="no.such.host.invalid")
        with pytest.raises(ConfigError, match="empty"):
            Dashboard(token=" ")


class TestList:
    CARDS = (
        Card("run10", ("AffinitiesTask", "UNet", "Torch", "cells"), 5, 10, 0.5, 1, "voi", 1.0, 4),
        Card("run9", ("OneHotTask", "UNet", "Torch", "mitos"), 10, 10, 0.1, 1, "dice", 0.9, 4, higher=True),
        Card("new", ("AffinitiesTask", "UNet", "Torch", "cells")),
    )

    @pytest.mark.parametrize(
        ("words", "found"),
        [
            ("", ["run10", "run9", "new"]),
            ("run", ["run10", "run9"]),
            ("affinities run", ["run10"]),
            ("-affinities", ["run9"]),
            ("data:cells", ["run10", "new"]),
            ("status:finished", ["run9"]),
            ("-status:finished task:aff -name:new", ["run10"]),
            ("unknown:field", []),
            ("-", []),
        ],
    )
    def test_filter(self, words: str, found: list[str]) -> None:
        assert [card.name for card in self.CARDS if matches(card, words)] == found

    @pytest.mark.parametrize(
        ("sort", "found"),
        [
            ("name", ["new", "run9", "run10"]),
            ("-name", ["run10", "run9", "new"]),
            ("loss", ["run9", "run10", "new"]),
            ("-loss", ["run10", "run9", "new"]),
            ("trained", ["new", "run10", "run9"]),
            ("nonsense", ["new", "run9", "run10"]),
        ],
    )
    def test_order(self, sort: str, found: list[str]) -> None:
        assert [card.name for card in sorted_cards(self.CARDS, sort)] == found


def test_losses_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Options.override(runs_base_dir=tmp_path / "runs"):
        store_run(tmp_path, "run", 20)
        runs = Catalogue()
        read = []
        once = runs.stats.losses_since
        monkeypatch.setattr(runs.stats, "losses_since", lambda *args: read.append(once(*args)) or read[-1])
        assert runs.losses("run").last == 19
        add_losses("run", 25)
        assert runs.losses("run").last == 24
    assert [list(news.iterations) for news in read] == [list(range(20)), list(range(20, 25))]
