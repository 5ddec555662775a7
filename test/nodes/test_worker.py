import threading

from mdic_ros.nodes.worker import Worker


def test_newest_job_wins_and_the_overtaken_one_is_told():
    busy, release, done = threading.Event(), threading.Event(), threading.Event()
    processed, overtaken = [], []

    def process(job: int) -> None:
        processed.append(job)
        busy.set()
        release.wait(10)
        if job == 3:
            done.set()

    worker = Worker(process, on_overtaken=overtaken.append, on_error=lambda *_: None)
    worker.submit(0)
    assert busy.wait(10)
    for job in (1, 2, 3):
        worker.submit(job)
    release.set()
    assert done.wait(10)
    assert worker.stop(10)
    assert processed == [0, 3]
    assert overtaken == [1, 2]


def test_an_error_is_reported_and_the_next_job_runs():
    errors, done = [], threading.Event()

    def process(job: str) -> None:
        if job == "bad":
            raise ValueError("no")
        done.set()

    reported = threading.Event()

    def on_error(job: str, error: Exception) -> None:
        errors.append((job, str(error)))
        reported.set()

    worker = Worker(process, on_overtaken=lambda _: None, on_error=on_error)
    worker.submit("bad")
    assert reported.wait(10)
    worker.submit("good")
    assert done.wait(10)
    assert errors == [("bad", "no")]
    assert worker.stop(10)


def test_stop_forgets_the_waiting_job_and_says_when_work_goes_on():
    busy, release = threading.Event(), threading.Event()
    processed = []

    def process(job: int) -> None:
        processed.append(job)
        busy.set()
        release.wait(10)

    worker = Worker(process, on_overtaken=lambda _: None, on_error=lambda *_: None)
    worker.submit(0)
    assert busy.wait(10)
    worker.submit(1)
    assert not worker.stop(0.0)
    worker.submit(2)
    release.set()
    assert worker.stop(10)
    assert processed == [0]
