"""python -m services.scheduler: run this service until told to stop."""

from services.scheduler import act, answers, feed, project
from services.scheduler.settings import SchedulerSettings
from shared.service import Service, run

if __name__ == "__main__":
    run(
        Service(
            projection=project.PROJECTION,
            settings=SchedulerSettings,
            answers=answers.answers,
            actors=lambda context: [act.Dispatcher(context), feed.Feeder(context)],
        )
    )
