"""``GET /agui/AGENT/THREAD/runs``: the AG-UI runs of a thread that are open."""

from __future__ import annotations

import threading
from typing import Any

from adapters.test_agui_requests import BODY, KEY, client_of, resume, run

from transport import TokenAuth


def test_runs_of_a_thread() -> None:
    """``runs`` names the AG-UI runs of a user that are open or wait for their turn. A question closes one."""
    auth = TokenAuth(KEY)
    with client_of(auth=auth, runs_per_user=2) as client:
        fields = {"authorization": f"Bearer {auth.issue('ann', 60)}"}

        def runs(thread: str = "t", **headers: str) -> Any:
            return client.get(f"/agui/echo/{thread}/runs", headers=headers or fields).json().get("runs")

        first = run(client, "twice", **fields)
        assert runs() == []
        second = run(client, "twice", resume(first, "a"), **fields)
        assert (second[-1]["outcome"]["type"], runs()) == ("interrupt", [])
        posts = [
            threading.Thread(target=run, args=(client, "waits", {**BODY, "runId": id_}), kwargs=fields) for id_ in "ab"
        ]
        for number, post in enumerate(posts):
            post.start()
            while len(runs()) <= number:
                pass
        assert runs() == ["a", "b"]  # the second one waits for its turn
        assert runs("other") == []
        assert runs(authorization=f"Bearer {auth.issue('bob', 60)}") == []
        assert client.get("/agui/echo/t/runs").status_code == 401
        for id_, post in reversed([*zip("ab", posts, strict=True)]):
            assert client.post(f"/agui/waits/t/{id_}/cancel", headers=fields).json() == {"cancelled": True}
            post.join()
        assert runs() == []
