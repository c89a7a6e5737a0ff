"""Starts the service: ``python -m services.inbound``."""

from services.inbound.act import Threader
from services.inbound.answers import answers
from services.inbound.project import PROJECTION
from shared.service import Service, run

if __name__ == "__main__":
    run(
        Service(
            projection=PROJECTION,
            answers=answers,
            actors=lambda context: [Threader(context)],
        )
    )
