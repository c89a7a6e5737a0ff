"""python -m tests.fakes.tiny: the tiny service, under the name services.tiny."""

from tests.fakes import tiny_service

if __name__ == "__main__":
    tiny_service.run()
