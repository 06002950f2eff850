"""What the settings refuse before anything is made of them."""

import pytest
from pydantic import ValidationError

from fanlight.config import Settings


@pytest.mark.parametrize("name", ["FANLIGHT_RUN_DIR", "FANLIGHT_DATA_DIR"])
def test_a_directory_without_a_name_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Sockets in whatever directory a service was started in would be anybody's."""
    monkeypatch.setenv(name, "")
    with pytest.raises(ValidationError, match="must name a directory"):
        Settings()
