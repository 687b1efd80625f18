curl --silent --show-error --fail-with-body \
  "${MAVERA_BASE_URL:-http://127.0.0.1:8000/api/v1}/responses" \
  -H "Authorization: Bearer $MAVERA_API_KEY" \
  -H "Content-Type: application/json" \
  -d '{
    "model": "mavera-1",
    "persona_id": "cmwqagwqp44qoe5wkq8j5u15r",
    "input": "Would you pay 20% more for a jacket made of recycled fabric?"
  }'
