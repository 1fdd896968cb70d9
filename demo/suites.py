"""The public AgentDojo task suites, loaded without the language-model clients of their benchmark runner.

`agentdojo.task_suite` imports `agentdojo.agent_pipeline`, whose `__init__` imports every vendor's SDK. Only its ground
truth pipeline is used here, so that package (and its `llms`) is entered without running its `__init__`: the modules
below it are the real ones. This happens in the demonstration's own processes only.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from demo import documents_of
from demo.documents_of import Document

VERSION: Final = "v1.2.2"
SUITES: Final = ("workspace", "banking", "travel", "slack")
_PIPELINE: Final = "agentdojo.agent_pipeline"
EMPTY_FUNCTION_NAME: Final = "<empty-function-name>"  # as agentdojo.agent_pipeline.llms.google_llm has it


def _enter(name: str, folder: Path | None = None) -> ModuleType:
    module = ModuleType(name)
    if folder is not None:
        module.__path__ = [str(folder)]
    sys.modules[name] = module
    return module


def _without_vendor_sdks() -> None:
    if _PIPELINE in sys.modules:
        return
    spec = importlib.util.find_spec("agentdojo")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("agentdojo is not installed", name="agentdojo")
    folder = Path(spec.origin).parent / "agent_pipeline"
    _enter(_PIPELINE, folder)
    _enter(f"{_PIPELINE}.llms", folder / "llms")
    vars(_enter(f"{_PIPELINE}.llms.google_llm"))["EMPTY_FUNCTION_NAME"] = EMPTY_FUNCTION_NAME


@cache
def suite(name: str) -> Any:
    """Return the suite (an `agentdojo.task_suite.TaskSuite`) of the newest benchmark version."""
    _without_vendor_sdks()
    from agentdojo.task_suite.load_suites import get_suite

    return get_suite(VERSION, name)


@cache
def _pristine(name: str) -> Any:
    return suite(name).load_and_inject_default_environment({})


def environment(name: str, task: str | None = None) -> Any:
    """Return a fresh copy of the suite's data, as the given task starts from it."""
    fresh = _pristine(name).model_copy(deep=True)
    return fresh if task is None else suite(name).user_tasks[task].init_environment(fresh)


def task_ids(name: str) -> list[str]:
    """Return the ids of the suite's user tasks, in order."""
    return sorted(suite(name).user_tasks, key=lambda task: int(task.rsplit("_", 1)[1]))


def prompt(name: str, task: str) -> str:
    """Return what the user asks for."""
    return str(suite(name).user_tasks[task].PROMPT)


def ground_truth(name: str, task: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the tool calls that solve a task, as (tool, arguments)."""
    calls = suite(name).user_tasks[task].ground_truth(environment(name, task))
    return [(call.function, dict(call.args)) for call in calls]


def tools_needed(name: str) -> list[str]:
    """Return the tools that the suite's user tasks call, sorted: what an assistant is granted, and no more."""
    return sorted({tool for task in task_ids(name) for tool, _ in ground_truth(name, task)})


def documents(name: str) -> list[Document]:
    """Return the texts that a suite comes with: files, mail, appointments, reviews, web pages, messages."""
    made = getattr(documents_of, name)(environment(name))
    return [one for one in made if one.text.strip()]


def text_of(result: Any) -> str:
    """Return a tool's result as the benchmark shows it to a model (YAML for records)."""
    _without_vendor_sdks()
    from agentdojo.agent_pipeline.tool_execution import tool_result_to_str

    return str(tool_result_to_str(result))
