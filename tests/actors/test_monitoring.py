"""The files in configs/monitoring, and the metrics that they show."""

import json
import os
import re
from pathlib import Path

import yaml

from actors.cluster import sessions_folder
from actors.metrics import FIGURES, PREFIX, TASK_TAGS, figures

FOLDER = Path(__file__).parents[2] / "configs" / "monitoring"
TOLD = {f"ray_{PREFIX}_{name}": set(TASK_TAGS) for name in FIGURES} | {f"ray_{PREFIX}_units": {"study", "state"}}
"""Ray puts its name before ours."""
FROM_RAY = {"WorkerId", "NodeAddress"}
"""Tags that Ray adds to every metric."""


def expressions():
    dashboard = json.loads((FOLDER / "grafana.json").read_text())
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return [*panels, *(one["definition"] for one in dashboard["templating"]["list"] if "definition" in one)]


def test_every_file_is_one_that_is_looked_at_here():
    assert {file.name for file in FOLDER.iterdir()} == {"grafana.json", "prometheus.yml"}


def test_the_dashboard_asks_for_every_metric_that_the_study_tells_and_for_no_other():
    asked = {name for one in expressions() for name in re.findall(r"\bray_study_\w+", one)}
    assert asked == TOLD.keys()


def test_it_groups_and_filters_by_tags_that_the_metric_has():
    for one in expressions():
        used = {tag.strip() for tags in re.findall(r"by \(([^)]*)\)", one) for tag in tags.split(",")}
        used |= set(re.findall(r"(\w+)\s*=~?", one))
        for name in re.findall(r"\bray_study_\w+", one):
            assert used <= TOLD[name] | FROM_RAY, one


def test_its_panels_do_not_overlap():
    panels = json.loads((FOLDER / "grafana.json").read_text())["panels"]
    places = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(places) == len(set(places))
    assert max(x for x, _ in places) < 24


def test_prometheus_finds_the_nodes_in_the_file_that_ray_keeps():
    (job,) = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    (found,) = job["file_sd_configs"]
    (file,) = found["files"]
    assert Path(file.replace("UID", str(os.getuid()))) == sessions_folder() / "prom_metrics_service_discovery.json"


def test_the_probability_of_the_class_token_is_the_geometric_mean_over_cells():
    about = {"model": "a", "stage": "stage 2"}
    told = figures([{**about, "class_loss": 0.0, "loss": 1.0}, {**about, "class_loss": 1.3862943611, "loss": 3.0}])
    assert {name: round(value, 6) for name, (value, _) in told.items()} == {"loss": 2.0, "class_probability": 0.5}
