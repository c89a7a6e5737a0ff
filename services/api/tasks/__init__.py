"""Long tasks: work that outlives its request, and the process that began it.

A request opens a task and answers 202; the leading instance runs it (clerk.py), and after a crash
goes on where it was last saved. Progress, question and result are vault rows (vault/003_tasks.sql);
what a task *does* it puts into the log, so that a replay needs none of this.

To add a kind of task
1. Write ``async def run(job: Job) -> None`` in the subject's own package and describe it as a
   ``Kind`` (job.py): name, the scope that may look at it, what its result file is called.
2. Name the Kind in ``KINDS`` (kinds.py).
3. Open it in a route: ``return await call.api.tasks.open(call, KIND, {…}, upload=file_id)``. Its
   Operation says ``status=202, response=shapes.Task, located=True`` and, among its problems,
   ``too_many_tasks``.

What ``run`` owes
* It may be called again at any time, with ``job.state`` as of the last ``save``. So every event it
  appends has an id derived from the task (``job.event(data, "what it is about")``): repeated, it
  is the same event. The log knows an id for two minutes only, so save at least every few seconds.
* ``job.write(bytes)``, ``job.state``, ``job.done``, ``job.error(…)`` and ``job.summary`` become
  durable together with the next ``await job.save()``, or not at all.
* It shares an event loop with requests that are measured in milliseconds: let others run after a
  millisecond or two of work (``await job.breathe()``, which costs nothing when it is not time).
* ``raise TaskFailed(code, detail)`` ends it with an error a person can act on. Everything else that
  it raises is tried again: without end while PostgreSQL or NATS is away, else a few times.
* ``asked``, ``errors`` and ``summary`` hold no personal data beyond ids; the files may, are sealed,
  and are gone with the task (``Kind.kept`` after its end; an upload as soon as the task ends).
"""
