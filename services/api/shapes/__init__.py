"""What goes in and comes out: pydantic models of requests, msgspec structs of answers.

The OpenAPI document is made from these very types (openapi.py).
"""
