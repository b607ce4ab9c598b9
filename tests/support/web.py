"""What tests of the HTTP side share."""

TOKEN = "drill-token-0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
