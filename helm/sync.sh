#!/usr/bin/env bash
# Copies alert rules and dashboards into the chart, which can read nothing outside of itself. A test compares them.
set -euo pipefail
cd "$(dirname "$0")/.."
files=helm/pitchfleet/files
mkdir -p "$files/dashboards"
rm -f "$files"/dashboards/*.json
cp deploy/prometheus/rules.yml "$files/rules.yml"
cp deploy/grafana/dashboards/*.json "$files/dashboards/"
