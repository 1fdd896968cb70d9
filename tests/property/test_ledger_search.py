"""A search gives exactly the leaves that a reader of the whole log would pick, in order, whatever pages it comes in."""

import random
import shutil

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.ledger_process import A, B, act, record

from partywall.decision.action import ActionType
from partywall.decision.record import Phase, Result
from partywall.errors import Malformed
from partywall.keys.file import FileKeys
from partywall.ledger import hunt, index_page, search
from partywall.ledger.activity import decode_keys
from partywall.ledger.answers import Answers
from partywall.ledger.leaf import context_of, parse_header, unseal
from partywall.ledger.logs import Logs
from partywall.ledger.search import Searcher
from partywall.ledger.witness import Witness
from partywall.wire.audit import Filters, Search

ACTIONS = [ActionType.TOOL_CALL, ActionType.MODEL_REQUEST, ActionType.OPERATOR_KEY, ActionType.OPERATOR_READ]
LEAVES = 5 * index_page.PAGE_LEAVES + 300


def ids(prefix, n):
    return f"{prefix}_{'abcdefghij'[n] * 26}"


def records(log, count, seed):
    chance = random.Random(seed)
    for n in range(count):
        phase = chance.choice([Phase.DENIAL, Phase.INTENT, Phase.OUTCOME])
        yield record(
            phase, n // 2, log,
            action=chance.choice(ACTIONS),
            resource=f"pw:local:{log}:{chance.choice(['tool', 'model'])}/x{chance.randrange(5)}",
            principal_id=ids("agt", chance.randrange(10)),
            user=ids("usr", chance.randrange(3)) if chance.random() < 0.2 else None,
            parent=act(chance.randrange(50)) if chance.random() < 0.1 else None,
            trace_id=f"{n // 4:032x}",
            verdict="deny" if phase is Phase.DENIAL else "allow",
            reason=chance.choice(["", "not-granted", "timeout"]),
            policy_revision=f"{n // 2000}-{'0' * 12}",
            result=chance.choice(list(Result)) if phase is Phase.OUTCOME else None,
        )  # fmt: skip


class Ledger:
    def __init__(self, folder, clock=None):
        self.now = 1_000.0
        self.folder = folder
        self.keys = FileKeys(folder / "kek")
        self.logs = Logs(folder, self.keys, reserve_bytes=64, clock=lambda: self.now)
        self.witness = Witness(folder, folder / "public", origin="test")
        self.damaged = []
        self.searcher = Searcher(folder, self.logs, damaged=lambda log, page: self.damaged.append((log, page)))
        shown = lambda _log, seq, leaf: msgspec.Raw(msgspec.json.encode({"seq": seq}))  # noqa: E731
        self.answers = Answers(self.logs, self.witness, self.searcher, shown=shown)

    def fill(self, log, count, seed=1):
        made = list(records(log, count, seed))
        for start in range(0, count, 500):
            self.logs.append(made[start : start + 500], durable=False)
            self.now += 1.0

    def find(self, log, filters=None, *, order="newest", limit=100, at=None):
        return drive(self.searcher.find(log, filters or Filters(), order=order, limit=limit, at=at))

    def ask(self, log, mode="search", **what):
        return msgspec.json.decode(drive(getattr(self.answers, mode)(log, Search(**what))))

    def opened(self, log):
        key = AESGCM(self.keys.data_key_now(log, "ledger")[1])
        for seq, leaf in enumerate(self.logs.leaves(log, 0, self.logs.size(log))):
            yield seq, parse_header(leaf), decode_keys(unseal(key, context_of(log), leaf))


def drive(steps):
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def expected(ledger, log, filters):
    """What a reader of every leaf would pick."""
    for seq, header, keys in ledger.opened(log):
        named = {name: getattr(filters, name) for name in index_page.COLUMNS}
        if any(getattr(keys, name) != value for name, value in named.items() if value is not None):
            continue
        if filters.action_prefix is not None and not keys.action.startswith(filters.action_prefix):
            continue
        if not (filters.since_us or 0) <= header.time_us < (filters.until_us or 2**60):
            continue
        if filters.from_seq <= seq < (2**60 if filters.to_seq is None else filters.to_seq):
            yield seq


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    made = Ledger(tmp_path_factory.mktemp("search"))
    made.fill(A, LEAVES)
    made.fill(B, 1500, seed=2)
    drive(made.searcher.catch_up(A, 99))
    return made


CASES = [
    Filters(),
    Filters(action="tool.call"),
    Filters(action_prefix="operator."),
    Filters(action="operator.key", action_prefix="tool"),
    Filters(action_prefix="nothing."),
    Filters(phase="denial", principal=ids("agt", 3)),
    Filters(verdict="allow", result="failed"),
    Filters(user=ids("usr", 1), kind="model"),
    Filters(resource=f"pw:local:{A}:tool/x3", reason="timeout"),
    Filters(trace_id=f"{700:032x}"),
    Filters(act=act(2600)),
    Filters(parent=act(7)),
    Filters(policy_revision=f"1-{'0' * 12}", result="unknown"),
    Filters(since_us=1_003_000_000, until_us=1_006_000_000, action="tool.call"),
    Filters(from_seq=1020, to_seq=1030),
    Filters(from_seq=1020, to_seq=5300, verdict="deny", principal=ids("agt", 9)),
    Filters(principal="system:sweeper"),
    Filters(from_seq=9_999_999),
]


@pytest.mark.parametrize("order", ["newest", "oldest"])
@pytest.mark.parametrize("filters", CASES, ids=lambda filters: "+".join(msgspec.to_builtins(filters)) or "all")
def test_a_search_is_what_a_reader_of_every_leaf_would_pick(ledger, filters, order):
    want = list(expected(ledger, A, filters))
    if order == "newest":
        want.reverse()
    limit = max(1, min(500, len(want) // 3))
    got, cursor, pages = [], None, 0
    while True:
        page = ledger.ask(A, filters=filters, order=order, limit=limit, cursor=cursor)
        assert page["at_head"]
        assert len(page["leaves"]) <= limit
        got += [leaf["seq"] for leaf in page["leaves"]]
        cursor, pages = page["next_cursor"], pages + 1
        if cursor is None:
            break
    assert got == want
    assert pages == max(1, -(-len(want) // limit))


def test_every_column_of_every_leaf_finds_it(ledger):
    chance = random.Random(5)
    everything = list(ledger.opened(A))
    for seq, _header, keys in chance.sample(everything, 60):
        for column in index_page.COLUMNS:
            value = getattr(keys, column)
            if value:
                filters = Filters(**{column: value}, from_seq=max(0, seq - 2), to_seq=seq + 3)
                assert seq in [at for at, _leaf in ledger.find(A, filters).leaves], (seq, column)


def test_leaves_that_no_page_holds_yet_are_found(ledger):
    newest = ledger.logs.size(A)
    ledger.logs.append([record(Phase.DENIAL, 9, A, trace_id="f" * 32)], durable=False)
    found = ledger.find(A, Filters(trace_id="f" * 32))
    assert [seq for seq, _leaf in found.leaves] == [newest]


def test_a_cursor_is_good_for_one_log_and_one_question_only(ledger):
    page = ledger.ask(A, filters=Filters(action="tool.call"), limit=5)
    cursor = page["next_cursor"]
    for log, what in [
        (B, {"filters": Filters(action="tool.call")}),
        (A, {"filters": Filters(action="model.request")}),
        (A, {"filters": Filters(action="tool.call"), "order": "oldest"}),
        (A, {"filters": Filters(action="tool.call"), "mode": "extract"}),
    ]:
        with pytest.raises(Malformed) as caught:
            ledger.ask(log, cursor=cursor, limit=5, **what)
        assert caught.value.code == "bad-cursor"
    for text in ("x", cursor[:-1], cursor + "A", "A" * len(cursor), cursor[:9] + "B" + cursor[10:]):
        with pytest.raises(Malformed):
            ledger.ask(A, filters=Filters(action="tool.call"), cursor=text)


def test_an_empty_log_answers_with_nothing_and_gets_no_key(tmp_path):
    ledger = Ledger(tmp_path)
    assert ledger.ask(A)["leaves"] == []
    assert ledger.ask(A, filters=Filters(action="tool.call"))["next_cursor"] is None
    assert not (tmp_path / "kek" / A).exists()


def everything(ledger, filters, order, limit):
    """All leaves of a search, page by page, and how many pages it took."""
    got, cursor, pages = [], None, 0
    while True:
        page = ledger.ask(A, filters=filters, order=order, limit=limit, cursor=cursor)
        got += [leaf["seq"] for leaf in page["leaves"]]
        cursor, pages = page["next_cursor"], pages + 1
        if cursor is None:
            return got, pages


@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_a_search_that_has_opened_enough_goes_on_where_it_stopped(ledger, order, monkeypatch):
    monkeypatch.setattr(hunt, "OPENED_LIMIT", 2)
    filters = Filters(phase="intent", result="complete")  # in every page, and of no leaf
    got, pages = everything(ledger, filters, order, 100)
    assert got == []
    assert pages == 3
    filters = Filters(principal=ids("agt", 5), kind="tool")
    got, _pages = everything(ledger, filters, order, 500)
    assert sorted(got) == list(expected(ledger, A, filters))


def test_a_search_ahead_of_the_index_says_how_far_it_looked(tmp_path, monkeypatch):
    monkeypatch.setattr(search, "CATCH_UP_PAGES", 1)
    ledger = Ledger(tmp_path)
    ledger.fill(A, 6 * index_page.PAGE_LEAVES)
    filters = Filters(principal=ids("agt", 5))
    page = ledger.ask(A, filters=filters, limit=500)
    assert (page["at_head"], page["searched"], page["size"]) == (False, 1024, 6144)
    assert [leaf["seq"] for leaf in page["leaves"]] == [
        seq for seq in reversed(list(expected(ledger, A, filters))) if seq < 1024
    ]
    got, pages = everything(ledger, filters, "oldest", 500)
    assert got == list(expected(ledger, A, filters))  # oldest first, it goes on as the index does
    assert pages > 1
    assert ledger.ask(A, filters=filters)["at_head"]


def test_two_who_index_at_once_write_each_page_once(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.fill(A, 3 * index_page.PAGE_LEAVES)
    both = [ledger.searcher.catch_up(A, 9), ledger.searcher.catch_up(A, 9)]
    while both:
        for steps in list(both):
            if next(steps, "end") == "end":
                both.remove(steps)
    assert ledger.searcher.behind(A) == 0
    filters = Filters(principal=ids("agt", 5))
    assert sorted(everything(ledger, filters, "newest", 100)[0]) == list(expected(ledger, A, filters))
    assert ledger.damaged == []


def test_leaves_and_pages_under_an_older_key_are_found_after_a_rotation(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.fill(A, 1500)
    drive(ledger.searcher.catch_up(A, 9))
    assert ledger.keys.rotate_now(A, "ledger") == 2
    ledger.logs.forget_keys(A)
    ledger.logs.append([record(Phase.DENIAL, n, A, trace_id="e" * 32) for n in range(1500)], durable=False)
    found = ledger.find(A, Filters(trace_id="e" * 32), limit=500)
    assert len(found.leaves) == 500
    assert len(ledger.find(A, Filters(trace_id=f"{100:032x}")).leaves) == 4
    assert ledger.damaged == []


# --- non-interference -------------------------------------------------------------------------------------------------


def observed(ledger):
    """All that A can see of its searches: every page of every question in both orders, with its cursor."""
    pages = []
    for filters in CASES:
        for order in ("newest", "oldest"):
            cursor = None
            for _page in range(4):
                page = ledger.ask(A, filters=filters, order=order, limit=40, cursor=cursor)
                pages.append(msgspec.json.encode(page))
                cursor = page["next_cursor"]
                if cursor is None:
                    break
    return pages


def test_what_a_search_shows_is_the_same_whether_there_is_a_neighbour(tmp_path):
    """Ids, order, counts, cursors and the sizes of what is kept: with B's leaves between A's, and B searching."""
    alone, beside = Ledger(tmp_path / "alone"), Ledger(tmp_path / "beside")
    alone.fill(A, 2500)
    shutil.copytree(tmp_path / "alone" / "kek" / A, tmp_path / "beside" / "kek" / A)
    mine, theirs = list(records(A, 2500, 1)), list(records(B, 7500, 3))
    for start in range(0, 2500, 500):
        beside.logs.append(theirs[3 * start : 3 * start + 1500] + mine[start : start + 500], durable=False)
        beside.now += 1.0
        beside.find(B, Filters(action="tool.call"))
    assert observed(alone) == observed(beside)
    for name in ("heads", "columns"):
        sizes = [(one.folder / "index" / f"{A}.{name}").stat().st_size for one in (alone, beside)]
        assert sizes[0] == sizes[1] > 0
