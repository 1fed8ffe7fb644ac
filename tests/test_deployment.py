"""Pages on a fitted policy in use: their code runs as it stands."""

from __future__ import annotations

import re
import shutil
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib import pyplot
from numpy.testing import assert_array_equal

DOCS = Path(__file__).parent.parent / "docs"


def run(page, names, first=0, last=None):
    """Run blocks of Python of a page, one after the other."""
    text = (DOCS / page).read_text("utf-8")
    for code in re.findall(r"```python\n(.*?)```", text, re.S)[first:last]:
        exec(compile(code, page, "exec"), names)
    return names


# Its test client takes httpx2 as well, which few have.
@pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient`")
def test_a_served_policy_decides_as_the_policy(tmp_path, monkeypatch, capsys):
    pytest.importorskip("fastapi")
    pytest.importorskip("httpx")
    pytest.importorskip("skops")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POLICY_FILE", "policy.skops")
    # By its name, pydantic finds the types of what a module defines.
    names = {"__name__": "__main__"}
    trained = run("serve.md", names, 0, 1)["policy"]
    X = names["X"]
    run("serve.md", names, 1)
    printed = capsys.readouterr().out.strip()
    assert f"    {printed}\n" in (DOCS / "serve.md").read_text("utf-8")
    client = names["client"]
    answer = client.post("/decisions", json=X.to_dict("records"))
    assert answer.status_code == 200
    assert [one["action"] for one in answer.json()] == [*trained.predict(X)]
    sets = trained[-1].predict_set(trained[:-1].transform(X))
    assert [len(one["as_good"]) for one in answer.json()] == [*sets.sum(axis=1)]
    assert client.post("/decisions", json=[]).json() == []
    for wrong in ([{"pulse": 80}], [{"pulse": "fast", "ward": "east"}], {"ward": 1}):
        assert client.post("/decisions", json=wrong).status_code == 422
    quiet = names["TestClient"](names["app"], raise_server_exceptions=False)
    unknown = [{"pulse": 80, "ward": "north"}]
    assert quiet.post("/decisions", json=unknown).status_code == 500


class Runs:
    """The part of MLflow that the page uses, where it is not installed."""

    def __init__(self, folder):
        self.folder, self.params, self.metrics = Path(folder), {}, []
        self.artifacts = SimpleNamespace(
            download_artifacts=lambda run_id, artifact_path: folder / artifact_path
        )
        self.log_params = self.params.update

    def start_run(self, run_name):
        return nullcontext(SimpleNamespace(info=SimpleNamespace(run_id="one")))

    def log_metric(self, key, value, step):
        self.metrics.append((key, value, step))

    def log_metrics(self, metrics):
        self.metrics += [(*pair, 0) for pair in metrics.items()]

    def log_artifacts(self, folder, artifact_path):
        shutil.copytree(folder, self.folder / artifact_path)

    def log_text(self, text, artifact_file):
        (self.folder / artifact_file).write_text(text, "utf-8")

    def log_figure(self, figure, artifact_file):
        figure.savefig(self.folder / artifact_file)


def test_a_logged_policy_is_opened_as_it_was(tmp_path, monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("skl2onnx")
    pytest.importorskip("skops")
    try:
        import mlflow
    except ImportError:
        mlflow = Runs(tmp_path)
        monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    else:
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    names = run("track.md", {})
    pyplot.close("all")
    policy, states = names["policy"], np.asarray(names["test"].state)
    assert_array_equal(names["opened"].q_values(states), policy.q_values(states))

    def artifact(name):
        found = mlflow.artifacts.download_artifacts(
            run_id=names["run"].info.run_id, artifact_path=name
        )
        return Path(found)

    session = onnxruntime.InferenceSession(artifact("policy/policy.onnx"))
    (action,) = session.run(["action"], {"states": states})
    assert_array_equal(action.ravel(), policy.predict(states))
    assert artifact("report.html").read_text("utf-8").startswith("<!DOCTYPE html>")
    assert artifact("policy.png").stat().st_size > 1000
    if isinstance(mlflow, Runs):
        assert mlflow.params == policy.get_params(deep=False)
        values = [value for key, value, _ in mlflow.metrics if key == "value"]
        assert values == policy.history_["value"]
        assert ("held_out_value", names["estimate"].value, 0) in mlflow.metrics
