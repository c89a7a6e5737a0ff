"""python -m services.api: run this service until told to stop."""

from services.api import answers, serve
from services.api.project import PROJECTION
from services.api.settings import ApiSettings
from shared.service import Service, run

if __name__ == "__main__":
    run(
        Service(
            projection=PROJECTION,
            settings=ApiSettings,
            routes=serve.routes,
            answers=answers.answers,
            actors=serve.actors,
            start=serve.start,
            stop=serve.stop,
        )
    )
