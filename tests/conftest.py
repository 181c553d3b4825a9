"""What every test may ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

# Ray leaves sockets and child processes to the garbage collector; its warnings say nothing of our code.
RAY_WARNINGS = (
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::DeprecationWarning:ray",
    "ignore::FutureWarning:ray",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "ray_session" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.ray)
        if item.get_closest_marker("ray"):
            for warning in RAY_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(warning))


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One small Ray for all tests that ask for it: 2 CPUs, no dashboard, private and gone at the end."""
    from linegroup.distributed.session import start_ray

    with start_ray(address="local", num_cpus=2, object_store_memory=150 * 2**20):
        yield
