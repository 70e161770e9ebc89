#!/usr/bin/env python3
"""The dashboards, as code: this file is their only source, dashboards/*.json what Grafana reads.

    python3 deploy/grafana/dashboards.py            write dashboards/*.json
    python3 deploy/grafana/dashboards.py --check    fail when they are not what this would write

Every panel has a unit and a description, and says what it shows in words that need no PromQL. The API's processes all
tell the same backlog: never sum those over instances. `instance` is what Prometheus calls a process.
"""

import json
import pathlib
import sys

FOLDER = pathlib.Path(__file__).parent / "dashboards"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}

WORKER = 'instance=~"$worker"'
QUEUE = 'queue=~"$queue"'
# Workers that run their models on what was chosen; those that never loaded them run on nothing.
DEVICE = 'and on (instance) pitchfleet_execution_provider_info{actual=~"$device"}'

GREEN, YELLOW, ORANGE, RED, BLUE, GREY = "green", "yellow", "orange", "red", "blue", "#8e8e8e"
MODEL_STATES = [("cold", BLUE), ("loading", YELLOW), ("warm", ORANGE), ("draining", GREY)]


def rate(metric, labels=""):
    return f"rate({metric}{{{labels}}}[$__rate_interval])"


def quantile(q, histogram, by, labels="", extra=""):
    buckets = " ".join(filter(None, [rate(f"{histogram}_bucket", labels), extra]))
    return f"histogram_quantile({q}, sum by ({', '.join(['le', *by])}) ({buckets}))"


def one_of(metric, states, labels):
    """Where a metric with a 0/1 series for each state stands, as a number: the place of its state in the list."""
    series = (f'{metric}{{{labels}, state="{state}"}} * {number}' for number, state in enumerate(states))
    return f"sum by (instance) ({' or '.join(series)})"


def target(query, legend="", **more):
    return {"expr": query, "legendFormat": legend or "__auto", "datasource": SOURCE, **more}


def panel(kind, title, about, unit, targets, size=(12, 8), defaults=None, overrides=(), **options):
    targets = [entry if isinstance(entry, dict) else target(*entry) for entry in targets]
    for entry, letter in zip(targets, "ABCDEFGH"):
        entry["refId"] = letter
    return {
        "type": kind,
        "title": title,
        "description": about,
        "datasource": SOURCE,
        "size": size,
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": unit, **(defaults or {})}, "overrides": list(overrides)},
        "options": options,
    }


def lines(title, about, unit, targets, *, stack=False, steps=False, bars=False, low=0, **more):
    custom = {"drawStyle": "bars" if bars else "line", "lineWidth": 1, "fillOpacity": 60 if bars else 25 if stack else 8}
    custom |= {"showPoints": "never", "stacking": {"mode": "normal" if stack else "none"}}
    custom |= {"lineInterpolation": "stepAfter" if steps else "linear"}
    defaults = {"custom": custom} | ({} if low is None else {"min": low}) | more.pop("defaults", {})
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True}
    return panel(
        "timeseries", title, about, unit, targets, defaults=defaults,
        legend=legend, tooltip={"mode": "multi", "sort": "desc"}, **more,
    )


def number(title, about, unit, query, *, thresholds=(), size=(4, 4), decimals=None, **more):
    steps = [{"color": GREEN, "value": None}] + [{"color": color, "value": value} for value, color in thresholds]
    defaults = {"thresholds": {"mode": "absolute", "steps": steps}} | ({} if decimals is None else {"decimals": decimals})
    return panel(
        "stat", title, about, unit, [(query,)], size=size, defaults=defaults,
        reduceOptions={"calcs": ["lastNotNull"], "fields": "", "values": False},
        colorMode="value", graphMode="area", **more,
    )


def timeline(title, about, query, states, size):
    mappings = {str(place): {"text": state, "color": color, "index": place} for place, (state, color) in enumerate(states)}
    defaults = {
        "mappings": [{"type": "value", "options": mappings}],
        "custom": {"fillOpacity": 80, "lineWidth": 0},
        "thresholds": {"mode": "absolute", "steps": [{"color": GREY, "value": None}]},
    }
    return panel(
        "state-timeline", title, about, "none", [(query, "{{instance}}")], size=size, defaults=defaults,
        mergeValues=True, showValue="auto", alignValue="center", rowHeight=0.8,
        legend={"showLegend": True, "displayMode": "list", "placement": "bottom"},
    )


def on_the_right(legend, unit):
    properties = [
        ("unit", unit), ("custom.axisPlacement", "right"), ("custom.fillOpacity", 0), ("custom.lineWidth", 2),
        ("custom.stacking", {"mode": "none"}),
    ]
    return {
        "matcher": {"id": "byRegexp", "options": legend},
        "properties": [{"id": name, "value": value} for name, value in properties],
    }


def table(title, about, query, hidden, **more):
    entry = panel("table", title, about, "short", [target(query, format="table", instant=True)], **more)
    hide = {"excludeByName": {column: True for column in hidden}}
    return entry | {"transformations": [{"id": "organize", "options": hide}]}


def row(title):
    return {"type": "row", "title": title, "size": (24, 1), "collapsed": False, "panels": []}


def chosen(name, label, query, about):
    return {
        "name": name, "label": label, "description": about, "type": "query", "datasource": SOURCE,
        "query": {"query": query, "refId": name}, "definition": query, "refresh": 2, "sort": 1,
        "includeAll": True, "multi": True, "allValue": ".*", "current": {"text": ["All"], "value": ["$__all"]},
    }


def event(name, color, query, title):
    return {
        "name": name, "iconColor": color, "enable": True, "datasource": SOURCE, "expr": query, "step": "15s",
        "titleFormat": title, "textFormat": "{{instance}}", "useValueForTime": False,
    }


EVENTS = [
    event("Loads", ORANGE, f'increase(pitchfleet_model_loads_total{{{WORKER}, outcome="ok"}}[1m]) > 0',
          "models loaded"),
    event("Unloads", BLUE, f"increase(pitchfleet_model_unloads_total{{{WORKER}}}[1m]) > 0",
          "models unloaded: {{reason}}"),
]


def dashboard(uid, title, about, panels, other):
    x = y = tallest = 0
    placed = []
    for place, entry in enumerate(panels, start=1):
        width, height = entry.pop("size")
        if x + width > 24:
            x, y, tallest = 0, y + tallest, 0
        placed.append({"id": place, **entry, "gridPos": {"x": x, "y": y, "w": width, "h": height}})
        x, tallest = x + width, max(tallest, height)
    return {
        "uid": uid,
        "title": title,
        "description": about,
        "tags": ["pitchfleet"],
        "editable": True,
        "graphTooltip": 1,
        "refresh": "15s",
        "schemaVersion": 39,
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "links": [{
            "type": "link", "title": other[1], "url": f"/d/{other[0]}", "icon": "dashboard",
            "keepTime": True, "includeVars": True,
        }],
        "annotations": {"list": EVENTS},
        "templating": {"list": [
            {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus",
             "description": "The Prometheus that asks the fleet"},
            chosen("worker", "Worker", "label_values(pitchfleet_worker_state, instance)", "Processes of workers"),
            chosen("queue", "Queue", "label_values(pitchfleet_photos_total, queue)", "bulk: big sets; express: small ones"),
            chosen("device", "Device", "label_values(pitchfleet_execution_provider_info, actual)",
                   "What runs the models, as ONNX Runtime calls it"),
        ]},
        "panels": placed,
    }


FLEET = [
    number("Backlog", "Photos in the queues that no worker was given yet.", "short",
           f"sum(max by (queue) (pitchfleet_backlog_photos{{{QUEUE}}}))"),
    number("Done in", "The backlog at the rate of the last five minutes. Infinite: photos wait and none is done.", "s",
           "max(pitchfleet:backlog_drain_seconds)", thresholds=[(900, YELLOW), (3600, RED)]),
    number("Oldest batch", "How long ago the oldest batch that is not finished was submitted. Looked at once a minute.",
           "s", "max(pitchfleet_backlog_oldest_age_seconds)", thresholds=[(900, YELLOW), (1800, RED)]),
    number("Photos a second", "Photos settled, by all chosen workers.", "reqps",
           f"sum({rate('pitchfleet_photos_total', f'{WORKER}, {QUEUE}')})", decimals=1),
    number("Dead letters", "Messages that nobody could deal with, in the time that is shown.", "short",
           "sum(increase(pitchfleet_dead_letters_total[$__range]))", thresholds=[(0.5, RED)]),
    number("Alerts", "Alerts of deploy/prometheus/rules.yml that fire; docs/runbook.md has a section for each.", "short",
           'count(ALERTS{alertname=~"Pitchfleet.*", alertstate="firing"}) or vector(0)', thresholds=[(0.5, RED)]),

    row("Backlog"),
    lines("Backlog and workers", "Photos that wait, by queue, and how many workers there are, as their heartbeats say.",
          "short",
          [(f"max by (queue) (pitchfleet_backlog_photos{{{QUEUE}}})", "waiting: {{queue}}"),
           ("max by (state) (pitchfleet_workers)", "workers: {{state}}")],
          stack=True, overrides=[{**on_the_right("workers: .*", "short")}]),
    lines("Until the backlog is done", "Seconds at the present rate, and how long the oldest unfinished batch has waited.",
          "s",
          [("max(pitchfleet:backlog_drain_seconds)", "done in"),
           ("max(pitchfleet_backlog_oldest_age_seconds)", "oldest batch")]),
    lines("In hand and delayed",
          "Photos that workers have taken and not settled; messages that wait for another try; messages that are parked "
          "because nobody understands them.",
          "short",
          [(f"sum(pitchfleet_inflight_photos{{{WORKER}}})", "in hand"),
           ("max(pitchfleet_workers_inflight_photos)", "in hand, by heartbeats"),
           ("max(pitchfleet_delayed_messages)", "delayed"),
           ("max(pitchfleet_parked_messages)", "parked")]),
    lines("Wait in the queue", "From publishing a photo's message to its taking, retries included.", "s",
          [(quantile(0.5, "pitchfleet_queue_wait_seconds", ["queue"], f"{WORKER}, {QUEUE}"), "half: {{queue}}"),
           (quantile(0.95, "pitchfleet_queue_wait_seconds", ["queue"], f"{WORKER}, {QUEUE}"), "95 %: {{queue}}")]),

    row("Work"),
    lines("Photos a second by worker", "Photos settled, whatever became of them.", "reqps",
          [(f"sum by (instance) ({rate('pitchfleet_photos_total', f'{WORKER}, {QUEUE}')})", "{{instance}}")], stack=True),
    lines("Outcomes", "Photos settled a second: analysed, taken from an earlier analysis, failed for good, or cancelled.",
          "reqps",
          [(f"sum by (outcome) ({rate('pitchfleet_photos_total', f'{WORKER}, {QUEUE}')})", "{{outcome}}")], stack=True),
    lines("Stages", "The mean time of each stage of a photo: what to make faster, and what a change has cost.", "s",
          [(f"sum by (stage) ({rate('pitchfleet_stage_duration_seconds_sum', WORKER)} {DEVICE}) / "
            f"sum by (stage) ({rate('pitchfleet_stage_duration_seconds_count', WORKER)} {DEVICE})", "{{stage}}")],
          stack=True),
    panel("heatmap", "Time of a photo", "From taking a photo to its stored result: how many took how long.", "s",
          [target(f"sum by (le) (increase(pitchfleet_photo_duration_seconds_bucket{{{WORKER}, {QUEUE}}}[$__rate_interval]) "
                  f"{DEVICE})", "{{le}}", format="heatmap")],
          calculate=False, yAxis={"unit": "s"}, color={"mode": "scheme", "scheme": "Oranges"}, cellGap=1,
          tooltip={"mode": "single", "yHistogram": True}),
    lines("Stages, the slow ones", "95 of 100 photos took at most so long in each stage.", "s",
          [(quantile(0.95, "pitchfleet_stage_duration_seconds", ["stage"], WORKER, DEVICE), "{{stage}}")]),
    lines("Deliveries", "Messages settled a second: done, sent to a retry queue, given back by a worker that goes, or "
          "rejected. What is not done is done again.", "reqps",
          [(f"sum by (result) ({rate('pitchfleet_deliveries_total', f'{WORKER}, {QUEUE}')})", "{{result}}")], stack=True),
    panel("bargauge", "Photos that failed for good", "In the time that is shown, by the code in their results.", "short",
          [(f"sum by (code) (increase(pitchfleet_photo_failures_total{{{WORKER}}}[$__range]))", "{{code}}")],
          displayMode="basic", orientation="horizontal", reduceOptions={"calcs": ["lastNotNull"], "fields": "", "values": False}),
    lines("Work done twice", "Share of deliveries of the last quarter of an hour that did not settle their photo.",
          "percentunit", [("pitchfleet:deliveries_again:ratio15m", "share")], defaults={"max": 1}),

    row("Batches"),
    lines("Batches", "Batches in flight, of the whole fleet, and how many were submitted and came to their end a minute.",
          "short",
          [("max(pitchfleet_active_batches)", "in flight"),
           (f"60 * sum by (kind) ({rate('pitchfleet_batches_submitted_total')})", "a minute: submitted, {{kind}}"),
           (f"60 * sum by (outcome) ({rate('pitchfleet_batches_total')})", "a minute: {{outcome}}")]),
    lines("Time of a batch", "From submission to the documents, of batches that were completed.", "s",
          [(quantile(0.5, "pitchfleet_batch_duration_seconds", []), "half"),
           (quantile(0.95, "pitchfleet_batch_duration_seconds", []), "95 %")]),
    lines("Photos of finished batches", "Photos a second, counted when their batch came to its end.", "reqps",
          [(f"sum by (outcome) ({rate('pitchfleet_batch_photos_total')})", "{{outcome}}")], stack=True),
    lines("Dead letters and webhooks", "Dead letters by what they were, and tries to tell webhooks by what became of them, "
          "a minute.", "short",
          [(f"60 * sum by (kind) ({rate('pitchfleet_dead_letters_total')})", "dead: {{kind}}"),
           (f"60 * sum by (outcome) ({rate('pitchfleet_webhook_deliveries_total')})", "webhook: {{outcome}}")]),

    row("API and broker"),
    lines("Requests", "Requests answered a second, by class of status.", "reqps",
          [(f"sum by (status) ({rate('pitchfleet_http_requests_total')})", "{{status}}")], stack=True),
    lines("Time of a request", "95 of 100 requests got the head of their answer in so long.", "s",
          [(quantile(0.95, "pitchfleet_http_request_duration_seconds", ["route", "method"]), "{{method}} {{route}}")]),
    lines("Requests by route", "Requests answered a second, by the template of their route.", "reqps",
          [(f"sum by (route, method) ({rate('pitchfleet_http_requests_total')})", "{{method}} {{route}}")], stack=True),
    lines("Errors of the API", "Share of answers that are errors of its own (5xx).", "percentunit",
          [("pitchfleet:http_errors:ratio5m", "share")], defaults={"max": 1}),
    lines("Followers", "Clients that follow a batch by server-sent events.", "short",
          [("sum by (instance) (pitchfleet_event_stream_clients)", "{{instance}}")], steps=True, size=(8, 7)),
    lines("Broker", "1 while a process reaches the broker and may publish, and how often connections were lost and made again.",
          "short",
          [("min(pitchfleet_broker_connected)", "all connected"),
           ("sum by (instance) (increase(pitchfleet_broker_reconnects_total[$__rate_interval]))", "made again: {{instance}}")],
          steps=True, size=(8, 7)),
    lines("Consumers", "Workers that take from each queue, as the broker counts them.", "short",
          [("max by (queue) (pitchfleet_queue_consumers)", "{{queue}}")], steps=True, size=(8, 7)),
    table("Versions", "What runs, by version: during a rollout there are two.",
          "count by (version) (pitchfleet_build_info)", ["Time"], size=(8, 6)),
    lines("Memory of the API", "Resident memory of the processes with API and coordinator.", "bytes",
          [('pitchfleet_rss_bytes{process="api"}', "{{instance}}")], size=(16, 6)),
]

MEMORY = [
    number("Models loaded", "Workers whose models are loaded now.", "short",
           f'sum(pitchfleet_model_state{{{WORKER}, state="warm"}})'),
    number("Held by engines", "Resident memory of all engine processes: 0 when nothing is loaded.", "bytes",
           f'sum(pitchfleet_rss_bytes{{{WORKER}, process="engine"}})'),
    number("Held by workers", "Resident memory of all workers without their engines.", "bytes",
           f'sum(pitchfleet_rss_bytes{{{WORKER}, process="worker"}})'),
    number("Closest to its limit", "The largest share of its memory limit that a worker uses.", "percentunit",
           "max(pitchfleet:memory_used:ratio)", thresholds=[(0.8, YELLOW), (0.9, RED)]),
    number("Not returned", "Unloads that left more than the floor and a tenth, in the time that is shown.", "short",
           f"sum(increase(pitchfleet_model_residual_unloads_total{{{WORKER}}}[$__range]))", thresholds=[(0.5, RED)]),
    number("Engines that died", "Engine processes that ended and that nobody had asked to, in the time that is shown.",
           "short", f"sum(increase(pitchfleet_inference_child_restarts_total{{{WORKER}}}[$__range]))",
           thresholds=[(0.5, YELLOW), (3, RED)]),

    row("The life of the models"),
    timeline("Models", "Where each worker's models are in their life: cold, loading, warm, draining.",
             one_of("pitchfleet_model_state", [state for state, _ in MODEL_STATES], WORKER), MODEL_STATES, (24, 6)),
    lines("Resident memory", "Of each worker and its engine, over the same time: the engine's is there while the models "
          "are. Loads and unloads are marked.", "bytes",
          [(f'sum by (instance) (pitchfleet_rss_bytes{{{WORKER}, process="engine"}})', "engine: {{instance}}"),
           (f'sum by (instance) (pitchfleet_rss_bytes{{{WORKER}, process="worker"}})', "worker: {{instance}}")],
          stack=True, steps=True, size=(24, 9)),
    lines("GPU memory", "Of each engine, and of the card whoever uses it. Empty without a card.", "bytes",
          [(f"pitchfleet_vram_process_bytes{{{WORKER}}}", "engine: {{instance}}, GPU {{gpu}}"),
           (f"pitchfleet_vram_device_used_bytes{{{WORKER}}}", "card: {{instance}}, GPU {{gpu}}"),
           (f"pitchfleet_vram_device_total_bytes{{{WORKER}}}", "size: {{instance}}, GPU {{gpu}}")],
          steps=True, size=(24, 8)),
    lines("Loads and unloads", "In each interval: loads by outcome, unloads by reason.", "short",
          [(f"sum by (outcome) (increase(pitchfleet_model_loads_total{{{WORKER}}}[$__rate_interval]))", "load: {{outcome}}"),
           (f"sum by (reason) (increase(pitchfleet_model_unloads_total{{{WORKER}}}[$__rate_interval]))",
            "unload: {{reason}}")],
          stack=True, bars=True, size=(8, 8)),
    lines("Time of a load", "From starting the engine process to ready.", "s",
          [(quantile(0.5, "pitchfleet_model_load_duration_seconds", [], WORKER), "half"),
           (quantile(0.95, "pitchfleet_model_load_duration_seconds", [], WORKER), "95 %")], size=(8, 8)),
    lines("Until the models go", "While nothing is to do: seconds until the unload. Below zero, a worker keeps its models "
          "longer than it should.", "s",
          [(f"-pitchfleet:model_overdue_seconds{{{WORKER}}}", "{{instance}}")], low=None, size=(8, 8)),

    row("What comes back"),
    lines("Private memory of workers", "What would come back if the worker ended, and the floor that it keeps without models.",
          "bytes",
          [(f'pitchfleet_private_memory_bytes{{{WORKER}, process="worker"}}', "{{instance}}"),
           (f"pitchfleet_memory_floor_bytes{{{WORKER}}} > 0", "floor: {{instance}}")], steps=True),
    lines("Residue", "Private memory above the floor after each unload: the memory receipt. A tenth of the floor is the limit, and 2 MB where that is more.",
          "bytes",
          [(f"pitchfleet_model_residual_bytes{{{WORKER}}}", "{{instance}}"),
           (f"clamp_min(0.1 * pitchfleet_memory_floor_bytes{{{WORKER}}}, 2 * 1024 * 1024)", "limit: {{instance}}")], steps=True),
    lines("Growth without models", "How fast a worker's private memory grows while it has no models loaded, a day: near "
          "zero when it has been up for a while.", "bytes",
          [(f"86400 * deriv(pitchfleet:worker_cold_bytes{{{WORKER}}}[$__range])", "{{instance}}")], low=None),
    lines("Private memory of engines", "What an unload gives back.", "bytes",
          [(f'pitchfleet_private_memory_bytes{{{WORKER}, process="engine"}}', "{{instance}}")], steps=True),

    row("Limits"),
    lines("Share of the limit", "Memory that counts against the limit of a worker's cgroup, or of its machine.", "percentunit",
          [(f"pitchfleet:memory_used:ratio{{{WORKER}}}", "{{instance}}")], defaults={"max": 1}, size=(8, 8)),
    lines("Used and limit", "The same in bytes.", "bytes",
          [(f"pitchfleet_memory_used_bytes{{{WORKER}}}", "used: {{instance}}"),
           (f"pitchfleet_memory_limit_bytes{{{WORKER}}}", "limit: {{instance}}")], size=(8, 8)),
    lines("Peaks", "The most that each process had resident since it started.", "bytes",
          [(f"pitchfleet_rss_peak_bytes{{{WORKER}}}", "{{process}}: {{instance}}")], steps=True, size=(8, 8)),

    row("Admission"),
    lines("Budget of decoded photos", "What photos hold decoded now, by their headers, and what they may: half of the memory limit. "
          "A photo that does not fit beside the others waits; one that is larger than all of it goes alone.", "bytes",
          [(f"pitchfleet_memory_admitted_bytes{{{WORKER}}}", "taken: {{instance}}"),
           (f"pitchfleet_memory_budget_bytes{{{WORKER}}}", "budget: {{instance}}")], steps=True, size=(8, 8)),
    lines("Wait for analysis", "From fetched to analysis, of analysed photos: until a lane of the engine is free, with loading of "
          "the models, and until there is memory. A full worker lets photos wait for lanes; memory should be 0.", "s",
          [(f"sum by (resource) ({rate('pitchfleet_admission_wait_seconds_sum', WORKER)} {DEVICE}) / "
            f"sum by (resource) ({rate('pitchfleet_admission_wait_seconds_count', WORKER)} {DEVICE})", "mean: {{resource}}"),
           (quantile(0.95, "pitchfleet_admission_wait_seconds", ["resource"], WORKER, DEVICE), "95 %: {{resource}}")],
          size=(8, 8)),
    lines("Lanes that wait for memory", "How many lanes of each worker stand still because there is no memory for their photo: "
          "on average, by the photos analysed since, and now.", "short",
          [(f"sum by (instance) (rate(pitchfleet_admission_wait_seconds_sum{{{WORKER}, resource=\"memory\"}}[$__rate_interval]))",
            "on average: {{instance}}"),
           (f"pitchfleet_memory_waiting_photos{{{WORKER}}}", "now: {{instance}}")], size=(8, 8)),

    row("Engines and devices"),
    table("Execution providers", "What each worker's models were to run on and what they run on, as of its last load. "
          "They differ when a card is not used.",
          f'max by (instance, requested, actual) (pitchfleet_execution_provider_info{{{WORKER}, actual=~"$device"}})',
          ["Time", "Value"], size=(8, 8)),
    lines("Time that cards are busy", "Share of each card's time in which it ran anything, whoever's, looked at whenever Prometheus "
          "asks. Low while photos wait: it waits for cores. Empty without a card.", "percentunit",
          [(f"pitchfleet_gpu_busy_ratio{{{WORKER}}}", "{{instance}}, GPU {{gpu}}")], defaults={"max": 1}, size=(8, 8)),
    lines("Engines' trouble", "Engine processes that ended and that nobody had asked to, each for a photo that is then tried "
          "once more alone; batches that were run in halves because a card's memory did not suffice.", "short",
          [(f"increase(pitchfleet_inference_child_restarts_total{{{WORKER}}}[$__rate_interval])", "died: {{instance}}"),
           (f"increase(pitchfleet_batch_halvings_total{{{WORKER}}}[$__rate_interval])", "halved: {{instance}}")], bars=True,
          size=(8, 8)),
    timeline("Workers", "What each worker does: it is idle, busy, or takes no more.",
             one_of("pitchfleet_worker_state", ["idle", "busy", "draining", "gone"], WORKER),
             [("idle", BLUE), ("busy", ORANGE), ("draining", YELLOW), ("gone", GREY)], (24, 6)),
    lines("In hand", "Photos that each worker has taken and not settled.", "short",
          [(f"pitchfleet_inflight_photos{{{WORKER}}}", "{{instance}}")], stack=True, steps=True, size=(24, 6)),
]

FLEET_NAME = ("pitchfleet-fleet", "Fleet")
MEMORY_NAME = ("pitchfleet-memory", "Memory and models")

DASHBOARDS = {
    "fleet.json": dashboard(*FLEET_NAME, "What the fleet has to do, and how it gets on.", FLEET, MEMORY_NAME),
    "memory.json": dashboard(
        *MEMORY_NAME, "Warm while there is work, gone when there is none: models and the memory that they hold.", MEMORY,
        FLEET_NAME,
    ),
}


def main():
    check = sys.argv[1:] == ["--check"]
    stale = []
    for name, content in DASHBOARDS.items():
        path, text = FOLDER / name, json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        if check and (not path.exists() or path.read_text() != text):
            stale.append(name)
        if not check:
            FOLDER.mkdir(exist_ok=True)
            path.write_text(text)
    if stale:
        sys.exit(f"{', '.join(stale)}: not what dashboards.py writes; run it")


if __name__ == "__main__":
    main()
