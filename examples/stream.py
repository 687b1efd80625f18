import os

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("MAVERA_BASE_URL", "http://127.0.0.1:8000/api/v1"),
    api_key=os.environ["MAVERA_API_KEY"],
)

stream = client.chat.completions.create(
    model="mavera-1",
    messages=[{"role": "user", "content": "What would make you switch banks?"}],
    extra_body={"persona_id": "cmwqagy6653oi515hop9nowmv"},  # SMB Owner
    stream=True,
)

for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
