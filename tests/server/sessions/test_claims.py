import multiprocessing
import os
import signal

import pytest

from sanawm_env.server.errors import ServerError
from sanawm_env.server.sessions.claims import Claims, owner_of


def session(folder, name):
    (folder / name).mkdir()
    (folder / name / "session.json").write_text("{}")
    return name


def test_one_has_it(tmp_path):
    name = session(tmp_path, "sabcdef")
    first, second = Claims(tmp_path, "first"), Claims(tmp_path, "second")
    assert owner_of(tmp_path, name) is None
    first.take(name), first.take(name)
    assert owner_of(tmp_path, name) == "first" and first.free(name) and not second.free(name)
    with pytest.raises(ServerError, match="another replica"):
        second.take(name, patience=0.05)
    assert owner_of(tmp_path, name) == "first"
    first.release(name)
    assert second.free(name) and owner_of(tmp_path, name) == "second"
    second.close()
    assert first.free(name)


@pytest.mark.parametrize("name", ["", "s", "sab/../x", "../sabcdef", "sabcde\n", "s" + "a" * 60, "sunknown"])
def test_what_is_no_session(tmp_path, name):
    session(tmp_path, "sabcdef")
    assert not Claims(tmp_path, "me").exists(name)
    with pytest.raises(ServerError) as told:
        owner_of(tmp_path, name)
    assert told.value.code == "unknown-session"


def hold_forever(folder, name, ready):
    claims = Claims(folder, "killed")
    claims.take(name)
    ready.set()
    signal.pause()


def test_a_claim_falls_with_its_process(tmp_path):
    name = session(tmp_path, "sabcdef")
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    process = context.Process(target=hold_forever, args=(tmp_path, name, ready))
    process.start()
    assert ready.wait(20)
    mine = Claims(tmp_path, "mine")
    assert not mine.free(name)
    os.kill(process.pid, signal.SIGKILL)
    mine.take(name)
    assert owner_of(tmp_path, name) == "mine"
    process.join(20)
