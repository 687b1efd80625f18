import os

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("MAVERA_BASE_URL", "http://127.0.0.1:8000/api/v1"),
    api_key=os.environ["MAVERA_API_KEY"],
)

response = client.responses.create(
    model="mavera-1",
    input="Would you pay 20% more for a jacket made of recycled fabric?",
    extra_body={"persona_id": "cmwqagwqp44qoe5wkq8j5u15r"},  # Gen Z Consumer
)

print(response.output_text)
