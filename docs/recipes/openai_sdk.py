"""OpenAI's own SDK through the wall: chat, whole and streamed, and a refusal that says why.

export PARTYWALL_URL=http://127.0.0.1:8470 PARTYWALL_KEY=pw_… PARTYWALL_MODEL=smollm2
python docs/recipes/openai_sdk.py
"""

import os
import sys

import openai

URL = os.environ.get("PARTYWALL_URL", "http://127.0.0.1:8470")
MODEL = os.environ.get("PARTYWALL_MODEL", "smollm2")


def main() -> None:
    """Ask the granted model twice, and one that is not granted."""
    with openai.OpenAI(base_url=f"{URL}/v1", api_key=os.environ["PARTYWALL_KEY"]) as client:
        sys.stdout.write(f"models: {', '.join(model.id for model in client.models.list())}\n")
        ask = [{"role": "user", "content": "Say hello to the neighbours."}]
        whole = client.chat.completions.create(model=MODEL, messages=ask, max_tokens=24)
        sys.stdout.write(f"whole: {whole.choices[0].message.content}\n")
        sys.stdout.write("streamed: ")
        for chunk in client.chat.completions.create(model=MODEL, messages=ask, max_tokens=24, stream=True):
            sys.stdout.write((chunk.choices[0].delta.content or "") if chunk.choices else "")
        try:
            client.chat.completions.create(model="somebody-elses", messages=ask)
        except openai.NotFoundError as error:
            sys.stdout.write(f"\nrefused: {error.body}\n")


if __name__ == "__main__":
    main()
