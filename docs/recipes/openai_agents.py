"""The OpenAI Agents SDK through the wall: its model requests and its MCP tool calls, each with the agent's own grants.

export PARTYWALL_URL=http://127.0.0.1:8470 PARTYWALL_KEY=pw_… PARTYWALL_MODEL=… PARTYWALL_SERVER=crm
python docs/recipes/openai_agents.py "What is on my list?"
"""

import asyncio
import os
import sys

from agents import Agent, OpenAIChatCompletionsModel, Runner, set_tracing_disabled
from agents.mcp import MCPServerStreamableHttp
from openai import AsyncOpenAI

from partywall.client import Partywall


async def main(question: str) -> None:
    """Let an agent answer with the tools of one registered server."""
    set_tracing_disabled(disabled=True)  # the SDK would send every prompt and answer to a third party
    wall = Partywall(os.environ.get("PARTYWALL_URL", "http://127.0.0.1:8470"), os.environ["PARTYWALL_KEY"])
    async with (
        wall,
        AsyncOpenAI(**wall.openai_options()) as client,
        MCPServerStreamableHttp(wall.mcp_options(os.environ["PARTYWALL_SERVER"]), cache_tools_list=True) as tools,
    ):
        model = OpenAIChatCompletionsModel(os.environ.get("PARTYWALL_MODEL", "smollm2"), client)
        agent = Agent("clerk", instructions="Answer with the tools you have.", model=model, mcp_servers=[tools])
        result = await Runner.run(agent, question)
    sys.stdout.write(f"{result.final_output}\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
