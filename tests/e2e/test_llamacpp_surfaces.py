"""v2 and embed where no backend can do what they ask for (spec 02 §4, 03 §1 and §4): a model that only embeds, one that only writes."""
import os

import pytest

from embed_fixtures import config_options, embed_model, embed_socket, entry
from llama_fixtures import ENGINE
from surfaces import EMBED, V2
from test_service import listen, passing
from tiny_models import TinyModel
from wire import assert_error


@pytest.fixture
def writer(place, tmp_path):
    """Options of a daemon whose only model writes."""
    if not os.access(ENGINE, os.X_OK):
        pytest.skip(f"{ENGINE} is not there: this build has no llama.cpp")
    return config_options(place, entry(place, "chat", TinyModel("full").write(tmp_path).path, n_ctx=256))


def test_v2_with_a_model_that_only_embeds_is_served_and_each_request_told(start, place):
    """Spec 02 §4: the published words; no failure of the backend, so that the breaker leaves embeddings alone."""
    daemon = start(*config_options(place, entry(place, "vectors", embed_model(), embed=True)), "--v2")
    conn = V2.dial(daemon)
    for _ in range(5):
        [error] = conn.ask()
        assert_error(error, "internal")
        assert error["message"] == 'backend "llamacpp" does not advertise v2 capability'
    assert_error(conn.ask(messages=[])[0], "invalid_request")
    assert EMBED.works(EMBED.dial(daemon, embed_socket(place)))
    assert not [record for record in place.records() if record.get("msg") == "v2_request_error_mid_stream"]
    assert_error(daemon.connect().ask()[-1], "invalid_request", says="embeddings only")


def test_embed_with_a_model_that_only_writes_is_warned_about_and_not_served(start, place, writer):
    """Spec 03 §1, spec 05 §8: the start goes on, and the rest is served."""
    daemon = start(*writer)
    daemon.told("warn.*no backend makes embeddings")
    assert not embed_socket(place).exists()
    assert daemon.connect().ask(max_tokens=1)[-1]["type"] == "done"


def test_who_dials_a_passed_socket_without_a_model_that_embeds_is_told(start, place, writer):
    """Spec 03 §4: the socket is there whatever the daemon does, so its clients must not wait for ever."""
    path = place.base / "units" / "embed"
    with listen(path) as sock:
        conn = EMBED.dial(start(*writer, **passing(embed=sock)), path)
        for _ in range(4):
            [error] = conn.ask()
            assert_error(error, "embed_unsupported")
            assert error["message"] == 'backend "llamacpp" does not support embeddings'
