"""The routes of the catalog and of plans, in their exact shapes."""

from __future__ import annotations

import pytest
from http_words import DOUBLE, TRIPLE, api_of, client_of, refused

from tests.api.api_apps import Apps

pytestmark = pytest.mark.anyio


async def test_a_step_is_registered_once_and_shown_with_its_defaults(apps: Apps) -> None:
    async with client_of(api_of(apps())) as http:
        first = await http.post("/engine/step", json=DOUBLE)
        again = await http.post("/engine/step", json=DOUBLE)
        events = (await http.get("/engine/catalog/events")).json()
        shown = (await http.get("/engine/step/double")).json()
        listed = (await http.get("/engine/step")).json()
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json() == {"message": "step double is registered", "step": shown}
    assert shown["work_config"]["max_retries"] == 10
    assert listed == {"steps": [shown], "count": 1}
    assert [event["type"] for event in events["events"]] == ["step_registered"]
    assert events["count"] == 1
    assert events["events"][0]["data"] == {"step": "double", "definition": DOUBLE}
    assert set(events["events"][0]) == {"id", "type", "at", "cause", "by", "data"}


async def test_another_definition_of_a_step_needs_an_update(apps: Apps) -> None:
    other = {**DOUBLE, "name": "twice"}
    async with client_of(api_of(apps())) as http:
        missing = await http.put("/engine/step/double", json=DOUBLE)
        await http.post("/engine/step", json=DOUBLE)
        conflict = await http.post("/engine/step", json=other)
        updated = await http.put("/engine/step/DOUBLE", json=other)
        equal = await http.put("/engine/step/double", json=other)
        mismatch = await http.put("/engine/step/triple", json=other)
        events = (await http.get("/engine/catalog/events?after=1")).json()
    assert "no step `double` is registered" in refused(missing, 404)
    assert "update instead" in refused(conflict, 409)
    assert 'id: is "double", and the path says "triple"' in refused(mismatch, 400)
    assert (updated.status_code, equal.status_code) == (200, 200)
    assert updated.json()["message"] == "step double is updated"
    assert updated.json()["step"]["name"] == "twice"
    assert [(each["id"], each["type"]) for each in events["events"]] == [("2-0", "step_updated")]


async def test_a_step_is_removed_once(apps: Apps) -> None:
    async with client_of(api_of(apps())) as http:
        await http.post("/engine/step", json=DOUBLE)
        removed = await http.delete("/engine/step/Double")
        again = await http.delete("/engine/step/double")
        gone = await http.get("/engine/step/double")
    assert (removed.status_code, removed.json()) == (200, {"message": "step double is removed"})
    assert "double" in refused(again, 404)
    assert "double" in refused(gone, 404)


async def test_steps_that_do_not_go_together_are_refused_as_invalid(apps: Apps) -> None:
    back = {**TRIPLE, "id": "back", "attributes": {"c": {"role": "required"}, "a": {"role": "output"}}}
    text = {
        "id": "text",
        "type": "script",
        "script": TRIPLE["script"],
        "attributes": {"b": {"role": "output", "type": "string"}},
    }
    async with client_of(api_of(apps())) as http:
        for each in (DOUBLE, TRIPLE):
            await http.post("/engine/step", json=each)
        cycle = await http.post("/engine/step", json=back)
        types = await http.post("/engine/step", json=text)
    assert "cycle" in refused(cycle, 400)
    assert "attribute type conflict" in refused(types, 400)


@pytest.mark.parametrize("path", ["/engine", "/engine/catalog"])
async def test_the_catalog_is_shown_at_its_version(path: str, apps: Apps) -> None:
    async with client_of(api_of(apps())) as http:
        empty = (await http.get(path)).json()
        await http.post("/engine/step", json=DOUBLE)
        state = (await http.get(path)).json()
        step = (await http.get("/engine/step/double")).json()
    assert empty == {"steps": {}, "version": 0}
    assert set(state) == {"steps", "version", "last_updated"}
    assert (state["steps"], state["version"]) == ({"double": step}, 1)
    assert state["last_updated"].endswith("Z")


async def test_a_plan_is_previewed_and_names_what_is_missing(apps: Apps) -> None:
    app = apps()
    await app.register_steps([DOUBLE, TRIPLE])
    async with client_of(api_of(app)) as http:
        whole = (await http.post("/engine/plan", json={"goals": ["triple"], "init": {"a": [1]}})).json()
        lacking = (await http.post("/engine/plan", json={"goals": ["triple"]})).json()
        unknown = await http.post("/engine/plan", json={"goals": ["tripel"]})
        none = await http.post("/engine/plan", json={"goals": []})
        flows = (await http.get("/engine/flow")).json()
    assert set(whole) == {"goals", "required", "steps", "children", "attributes", "excluded", "why"}
    assert (list(whole["steps"]), whole["required"]) == (["double", "triple"], [])
    assert lacking["required"] == ["a"]
    assert "tripel" in refused(unknown, 404)
    assert "No goals were given" in refused(none, 400)
    assert flows == []
