import threading

from mdic_ros.stream.events import DropCounter


def test_drops_are_counted_by_cause_from_many_threads():
    drops = DropCounter()
    threads = [
        threading.Thread(target=lambda cause=cause: [drops.count(cause) for _ in range(1000)])
        for cause in ("late", "damaged", "late")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert drops.by_cause() == {"damaged": 1000, "late": 2000}
    assert drops.total == 3000
