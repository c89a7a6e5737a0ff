"""Starts the service: ``python -m services.webhooks``."""

from services.webhooks.act import Deliverer
from services.webhooks.answers import answers
from services.webhooks.project import PROJECTION
from services.webhooks.settings import WebhookSettings
from shared.service import Service, run

if __name__ == "__main__":
    run(
        Service(
            projection=PROJECTION,
            settings=WebhookSettings,
            answers=answers,
            actors=lambda context: [Deliverer(context)],
        )
    )
