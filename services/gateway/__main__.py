"""python -m services.gateway: run this service until told to stop."""

from services.gateway import act, answers, project, routes
from services.gateway.settings import GatewaySettings
from shared.service import Service, run

if __name__ == "__main__":
    run(
        Service(
            projection=project.PROJECTION,
            settings=GatewaySettings,
            routes=routes.add,
            answers=answers.answers,
            actors=lambda context: [act.Watch(context), act.Sweep(context)],
            start=routes.start,
            stop=routes.stop,
        )
    )
