"""An MCP server with everything that the conformance suite asks of one, on the official SDK: `everything.py PORT`.

It stands *behind* the door. Its tools, prompts and resources have the names and answers that the suite's scenarios
describe; what the wall does not carry (sampling, elicitation, subscriptions) is not here either.
"""

import asyncio
import base64
import sys

import mcp_types as types
import uvicorn
from mcp.server.lowlevel.server import Server

NOTHING = {"type": "object", "properties": {}}
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/q842iQAAAABJRU5ErkJggg=="
)
WAVE = (
    b"RIFF&\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x80\x3e\x00\x00\x02\x00\x10\x00"
    b"data\x02\x00\x00\x00\x00\x00"
)
TOOLS = {
    "test_simple_text": "Tests simple text content response",
    "test_image_content": "Tests image content response",
    "test_audio_content": "Tests audio content response",
    "test_embedded_resource": "Tests embedded resource content response",
    "test_multiple_content_types": "Tests response with multiple content types",
    "test_tool_with_progress": "Tests tool that reports progress notifications",
    "test_tool_with_logging": "Tests tool that emits log messages during execution",
    "test_logging_tool": "Tests that nothing is logged to a caller that asked for no level",
    "test_error_handling": "Tests error response handling",
}
PROMPTS = {
    "test_simple_prompt": ("A simple prompt without arguments", ()),
    "test_prompt_with_arguments": ("A prompt with required arguments", ("arg1", "arg2")),
    "test_prompt_with_embedded_resource": ("A prompt that includes an embedded resource", ("resourceUri",)),
    "test_prompt_with_image": ("A prompt that includes image content", ()),
}
RESOURCES = {
    "test://static-text": ("static-text", "A static text resource for testing", "text/plain"),
    "test://static-binary": ("static-binary", "A static binary resource for testing", "image/png"),
}
TEMPLATE = ("test://template/{id}/data", "template", "A resource template with parameter substitution")


def text(said):
    return types.TextContent(text=said)


def image():
    return types.ImageContent(data=base64.b64encode(PIXEL).decode(), mime_type="image/png")


def embedded(uri, said):
    contents = types.TextResourceContents(uri=uri, mime_type="text/plain", text=said)
    return types.EmbeddedResource(resource=contents)


ANSWERS = {
    "test_simple_text": lambda: [text("This is a simple text response for testing.")],
    "test_image_content": lambda: [image()],
    "test_audio_content": lambda: [
        types.AudioContent(data=base64.b64encode(WAVE).decode(), mime_type="audio/wav")
    ],
    "test_embedded_resource": lambda: [
        embedded("test://embedded-resource", "This is an embedded resource content.")
    ],
    "test_multiple_content_types": lambda: [
        text("Multiple content types test:"), image(), embedded("test://mixed-content-resource", "{}"),
    ],
}  # fmt: skip


async def list_tools(_context, _params):
    tools = [types.Tool(name=name, description=said, input_schema=NOTHING) for name, said in TOOLS.items()]
    return types.ListToolsResult(tools=tools)


async def call_tool(context, params):
    if params.name == "test_error_handling":
        return types.CallToolResult(
            content=[text("This tool intentionally returns an error for testing")], is_error=True
        )
    if params.name == "test_tool_with_progress":
        for step in (0, 50, 100):
            await context.session.report_progress(step, 100)
            await asyncio.sleep(0.05)
        return types.CallToolResult(content=[text("done")])
    if params.name in {"test_tool_with_logging", "test_logging_tool"}:
        for said in ("Tool execution started", "Tool processing data", "Tool execution completed"):
            await context.session.send_log_message("info", said)
            await asyncio.sleep(0.05)
        return types.CallToolResult(content=[text("done")])
    return types.CallToolResult(content=ANSWERS[params.name]())


async def list_prompts(_context, _params):
    return types.ListPromptsResult(
        prompts=[
            types.Prompt(
                name=name,
                description=said,
                arguments=[
                    types.PromptArgument(name=one, description=f"The {one}", required=True) for one in arguments
                ],
            )
            for name, (said, arguments) in PROMPTS.items()
        ]
    )


async def get_prompt(_context, params):
    given = params.arguments or {}
    said = {
        "test_simple_prompt": [text("This is a simple prompt for testing.")],
        "test_prompt_with_arguments": [
            text(f"Prompt with arguments: arg1='{given.get('arg1')}', arg2='{given.get('arg2')}'")
        ],
        "test_prompt_with_embedded_resource": [
            embedded(given.get("resourceUri", "test://none"), "Embedded resource content for testing."),
            text("Please process the embedded resource above."),
        ],
        "test_prompt_with_image": [image(), text("Please analyze the image above.")],
    }[params.name]
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=one) for one in said])


async def list_resources(_context, _params):
    return types.ListResourcesResult(
        resources=[
            types.Resource(uri=uri, name=name, description=said, mime_type=kind)
            for uri, (name, said, kind) in RESOURCES.items()
        ]
    )


async def list_templates(_context, _params):
    uri, name, said = TEMPLATE
    template = types.ResourceTemplate(uri_template=uri, name=name, description=said, mime_type="application/json")
    return types.ListResourceTemplatesResult(resource_templates=[template])


async def read_resource(_context, params):
    uri = str(params.uri)
    if uri == "test://static-binary":
        blob = base64.b64encode(PIXEL).decode()
        return types.ReadResourceResult(
            contents=[types.BlobResourceContents(uri=uri, mime_type="image/png", blob=blob)]
        )
    if uri == "test://static-text":
        said, kind = "This is the content of the static text resource.", "text/plain"
    else:
        number = uri.removeprefix("test://template/").removesuffix("/data")
        said, kind = f'{{"id":"{number}","templateTest":true,"data":"Data for ID: {number}"}}', "application/json"
    return types.ReadResourceResult(contents=[types.TextResourceContents(uri=uri, mime_type=kind, text=said)])


async def complete(_context, params):
    values = [word for word in ("paris", "park", "party") if word.startswith(params.argument.value)]
    return types.CompleteResult(completion=types.Completion(values=values, total=len(values), has_more=False))


def approved():
    """What a tenant-admin approves of all this: tools, and the rest as entries that say what they are."""
    from partywall.decision.manifest import OFFERS, prompt_schema

    yield from ({"name": name, "description": said, "input_schema": NOTHING} for name, said in TOOLS.items())
    for name, (said, arguments) in PROMPTS.items():
        listed = [{"name": one, "description": f"The {one}", "required": True} for one in arguments]
        yield {
            "name": f"prompt.{name}", "description": said, "input_schema": prompt_schema(listed),
            "annotations": {OFFERS: {"prompt": name}},
        }  # fmt: skip
    for uri, (name, said, kind) in RESOURCES.items():
        offer = {OFFERS: {"resource": uri, "mimeType": kind}}
        yield {"name": name, "description": said, "input_schema": NOTHING, "annotations": offer}
    uri, name, said = TEMPLATE
    schema = {"type": "object", "properties": {"id": {"type": "string", "maxLength": 20}}, "required": ["id"]}
    offer = {OFFERS: {"template": uri, "mimeType": "application/json"}}
    yield {"name": name, "description": said, "input_schema": schema, "annotations": offer}


def application():
    server = Server(
        "everything", version="1", on_list_tools=list_tools, on_call_tool=call_tool, on_list_prompts=list_prompts,
        on_get_prompt=get_prompt, on_list_resources=list_resources, on_list_resource_templates=list_templates,
        on_read_resource=read_resource, on_completion=complete,
    )  # fmt: skip
    return server.streamable_http_app()


if __name__ == "__main__":
    uvicorn.run(application(), host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
