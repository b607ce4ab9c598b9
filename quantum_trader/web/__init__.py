"""HTTP: the page, the API, metrics, health; and what is watched for alerts (SPEC 13)."""
