"""`make demo` in short: the real thing, with fewer tasks, no model and no probes; the long version plays all of it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from demo import suites
from demo.desk import DeskProcess

ROOT = Path(__file__).parent.parent.parent
DEMO = (sys.executable, "-m", "demo", "--json")


def play(tmp_path, *options, timeout_s=100):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    words = [*DEMO, "--summary", str(tmp_path / "summary.json"), "--report", str(tmp_path / "page.html"), *options]
    done = subprocess.run(
        words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    return done, json.loads(done.stdout or "{}")


def test_the_short_demonstration_comes_out_right(tmp_path):
    done, summary = play(tmp_path, "--tasks", "3", "--no-model", "--no-probes", "--no-knockouts")
    assert done.returncode == 0, done.stderr
    assert summary["right"] is True
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    chapters = {chapter["key"]: chapter for chapter in summary["chapters"]}
    skipped = {key for key, chapter in chapters.items() if chapter["result"] == "skipped"}
    assert skipped <= {"talk", "probes", "knockouts", "documents"}
    work = chapters["work"]["figures"]
    assert [work[name]["done"] for name in suites.SUITES] == [3, 3, 3, 3]
    assert all(work[name]["credentials_seen_by_the_server"] == 0 for name in suites.SUITES)
    check_attempts(summary["attempts"])
    for figures in chapters["ledger"]["figures"].values():
        made, recorded = figures["made"], figures["recorded"]
        assert made == {action: recorded[action] for action in made}
    page = (tmp_path / "page.html").read_text()
    assert "The wall held." in page
    assert len(page) > 100_000


def check_attempts(attempts):
    """Every ordered pair at every door; each denial that was an action of somebody has its place in a ledger."""
    assert all(attempt["held"] for attempt in attempts)
    across = [attempt for attempt in attempts if attempt["who"] != attempt["whose"]]
    pairs = {(attempt["who"], attempt["whose"]) for attempt in across}
    assert len(pairs) == len(suites.SUITES) * (len(suites.SUITES) - 1)
    for door in {attempt["door"] for attempt in across}:
        assert {(one["who"], one["whose"]) for one in across if one["door"] == door} == pairs
    for attempt in attempts:
        assert attempt["reason"], attempt
        if attempt["status"] == 404:
            assert attempt["act"] or attempt["layer"] == "administration", attempt


@pytest.mark.long
def test_the_whole_demonstration_takes_less_than_three_minutes(tmp_path):
    started = time.monotonic()
    done, summary = play(tmp_path, timeout_s=180)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < 180
    assert {chapter["result"] for chapter in summary["chapters"]} == {"right"}


def test_a_demonstration_that_is_stopped_leaves_nothing_running(tmp_path):
    words = [*DEMO, "--summary", str(tmp_path / "summary.json"), "--no-model", "--no-probes"]
    words += ["--report", str(tmp_path / "page.html")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(children := psutil.Process(process.pid).children(recursive=True)) < 6 and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) != 0
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []


def test_every_ground_truth_is_made_of_granted_tools_and_json():
    for name in suites.SUITES:
        needed = suites.tools_needed(name)
        for task in suites.task_ids(name):
            for tool, arguments in suites.ground_truth(name, task):
                assert tool in needed
                assert json.loads(json.dumps(arguments)) == arguments


@pytest.mark.parametrize("name", suites.SUITES)
async def test_a_suite_is_a_server_whose_checks_can_fail(name):
    async with DeskProcess(name) as desk:
        undone = []
        for task in suites.task_ids(name):
            await desk.reset(task)
            if not await desk.check(task):
                undone.append(task)
        assert undone  # tasks that change something are not done by doing nothing
        process = psutil.Process(desk.pid)
    assert not process.is_running()
