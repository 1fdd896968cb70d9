"""A LangGraph agent through the wall: model, MCP tools, and what it remembers in its own memory.

export PARTYWALL_URL=http://127.0.0.1:8470 PARTYWALL_KEY=pw_… PARTYWALL_MODEL=… PARTYWALL_SERVER=crm
python docs/recipes/langgraph_agent.py "What is on my list?"
"""

import asyncio
import os
import sys
from typing import Any

import httpx2
from langchain_core.tools import StructuredTool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from partywall.client import Partywall


async def main(question: str) -> None:
    """Let a graph of two nodes, model and tools, answer; then keep the answer."""
    wall = Partywall(os.environ.get("PARTYWALL_URL", "http://127.0.0.1:8470"), os.environ["PARTYWALL_KEY"])
    mcp = wall.mcp_options(os.environ["PARTYWALL_SERVER"])
    http = httpx2.AsyncClient(headers=mcp["headers"], timeout=60)
    async with wall, http, Client(streamable_http_client(mcp["url"], http_client=http)) as server:
        tools = [as_tool(server, tool) for tool in (await server.list_tools()).tools]
        chat = ChatOpenAI(model=os.environ.get("PARTYWALL_MODEL", "smollm2"), **wall.openai_options())
        model = chat.bind_tools(tools)

        async def think(state: MessagesState) -> dict[str, Any]:
            return {"messages": [await model.ainvoke(state["messages"])]}

        graph = StateGraph(MessagesState)
        graph.add_node("think", think)
        graph.add_node("tools", ToolNode(tools))
        graph.add_edge(START, "think")
        graph.add_conditional_edges("think", tools_condition)
        graph.add_edge("tools", "think")
        ended = await graph.compile().ainvoke({"messages": [("user", question)]})
        answer = ended["messages"][-1].content
        await wall.memory.put("last-answer", {"question": question, "answer": answer})
    sys.stdout.write(f"{answer}\n")


def as_tool(server: Client, tool: Any) -> StructuredTool:
    """Return an MCP tool as LangChain takes one; the wall checks its arguments against the approved schema."""

    async def call(**arguments: Any) -> str:
        result = await server.call_tool(tool.name, arguments)
        return "\n".join(part.text for part in result.content if part.type == "text")

    return StructuredTool.from_function(
        coroutine=call, name=tool.name, description=tool.description or tool.name, args_schema=tool.input_schema
    )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
