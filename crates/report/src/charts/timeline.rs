//! Cracks, moisture and grass through the day, one line a group.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use pitch::verdict::{TimelinePoint, Trend, Trends, Verdict};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::{
    Canvas, Chart, GRID, INK, LegendEntry, PALETTE, Painted, TEXT, axis_label, draw, hex, largest_only,
    round_up, scopes, text_style,
};
use crate::ReportError;

const HEIGHT: u32 = 210;
const MAX_TICKS: i64 = 5;
/// Distances of ticks in seconds that a reader can name; beyond the last one they double.
const TICKS: [i64; 12] = [
    60, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 172_800,
];
const DAY: i64 = 86_400;

/// What one chart shows of a point.
struct Quantity {
    name: &'static str,
    title: &'static str,
    value: fn(&TimelinePoint) -> f64,
    trend: fn(&Trends) -> Trend,
}

const QUANTITIES: [Quantity; 3] = [
    Quantity {
        name: "cracks timeline",
        title: "Crack density through the day (%)",
        value: |point| point.crack_density_percent,
        trend: |trends| trends.crack_density_percent,
    },
    Quantity {
        name: "moisture timeline",
        title: "Moisture score through the day",
        value: |point| point.moisture_score,
        trend: |trends| trends.moisture_score,
    },
    Quantity {
        name: "grass timeline",
        title: "Grass cover through the day (%)",
        value: |point| point.grass_percent,
        trend: |trends| trends.grass_percent,
    },
];

/// One line.
struct Series {
    points: Vec<(i64, f64)>,
    colour: RGBColor,
}

/// A chart each for cracks, moisture and grass; empty when no two photos differ in time.
///
/// # Errors
/// When the plotting library fails.
pub fn timelines(verdict: &Verdict) -> Result<Vec<Chart>, ReportError> {
    let mut charts = Vec::new();
    for quantity in &QUANTITIES {
        let mut series = Vec::new();
        let mut legend = Vec::new();
        for (scope, colour) in scopes(verdict).iter().zip(PALETTE) {
            let Some(timeline) = &scope.summary.timeline else {
                continue;
            };
            series.push(Series {
                points: timeline
                    .points
                    .iter()
                    .filter_map(|point| Some((seconds(&point.at)?, (quantity.value)(point))))
                    .collect(),
                colour,
            });
            let trend = timeline.trends.as_ref().map(quantity.trend);
            legend.push(LegendEntry {
                colour: hex(colour),
                label: format!("{}: {}", scope.name, trend_words(trend)),
            });
        }
        let times = || series.iter().flat_map(|line| line.points.iter().map(|p| p.0));
        let (Some(first), Some(last)) = (times().min(), times().max()) else {
            continue;
        };
        if first == last {
            continue;
        }
        let words: Vec<&str> = legend.iter().map(|entry| entry.label.as_str()).collect();
        charts.push(Chart {
            title: format!("{}{}", quantity.title, largest_only(verdict)),
            description: format!("{}.", words.join("; ")),
            svg: draw(quantity.name, HEIGHT, |canvas| {
                paint(canvas, &series, first, last)
            })?,
            legend,
        });
    }
    Ok(charts)
}

/// A trend in words, the interval included where the sign is clear.
pub(crate) fn trend_words(trend: Option<Trend>) -> String {
    match trend {
        None => "too few times for a trend".to_owned(),
        Some(trend) if trend.is_clear() => format!(
            "{:+.2} an hour ({:+.2} to {:+.2})",
            trend.per_hour, trend.low, trend.high
        ),
        Some(_) => "no clear trend".to_owned(),
    }
}

fn paint(canvas: &Canvas<'_>, series: &[Series], first: i64, last: i64) -> Painted {
    let end = round_up(
        series
            .iter()
            .flat_map(|line| line.points.iter().map(|p| p.1))
            .fold(0.0, f64::max),
    );
    let mut chart = ChartBuilder::on(canvas)
        .margin_top(10)
        .margin_right(24)
        .x_label_area_size(28)
        .y_label_area_size(44)
        .build_cartesian_2d(first as f64..last as f64, 0.0..end)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .disable_x_axis()
        .y_labels(5)
        .y_max_light_lines(0)
        .y_label_formatter(&|value| axis_label(*value, end))
        .bold_line_style(GRID)
        .axis_style(GRID)
        .label_style(("sans-serif", TEXT).into_font().color(&INK))
        .draw()?;
    for line in series {
        let points = || line.points.iter().map(|&(at, value)| (at as f64, value));
        chart.draw_series(LineSeries::new(points(), line.colour.stroke_width(2)))?;
        chart.draw_series(points().map(|point| Circle::new(point, 3, line.colour.filled())))?;
    }
    let step = tick_step(first, last);
    let mut tick = first.div_euclid(step) * step;
    while tick <= last {
        if tick >= first {
            let foot = chart.backend_coord(&(tick as f64, 0.0));
            canvas.draw(&PathElement::new(
                vec![foot, (foot.0, foot.1 + 5)],
                INK.stroke_width(1),
            ))?;
            canvas.draw(&Text::new(
                tick_label(tick, step),
                (foot.0, foot.1 + 9),
                text_style(HPos::Center, VPos::Top),
            ))?;
        }
        tick += step;
    }
    Ok(())
}

fn seconds(local: &str) -> Option<i64> {
    let time: DateTime = local.parse().ok()?;
    Some(Offset::UTC.to_timestamp(time).ok()?.as_second())
}

/// The least distance that gives at most [`MAX_TICKS`] ticks.
fn tick_step(first: i64, last: i64) -> i64 {
    let doubled = std::iter::successors(Some(TICKS[TICKS.len() - 1]), |step| step.checked_mul(2));
    TICKS
        .into_iter()
        .chain(doubled)
        .find(|step| (last - first) / step < MAX_TICKS)
        .unwrap_or(i64::MAX)
}

fn tick_label(seconds: i64, step: i64) -> String {
    let format = if step < DAY { "%H:%M" } else { "%d %b" };
    Timestamp::from_second(seconds)
        .map(|time| Offset::UTC.to_datetime(time).strftime(format).to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_stand_at_round_times() {
        let at = |text| seconds(text).unwrap();
        let (first, last) = (at("2026-06-14T09:40:00"), at("2026-06-14T18:05:00"));
        assert_eq!(tick_step(first, last), 7_200);
        assert_eq!(tick_label(at("2026-06-14T10:00:00"), 7_200), "10:00");
        let last = at("2026-06-18T18:05:00");
        assert_eq!(tick_step(first, last), DAY);
        assert_eq!(tick_label(at("2026-06-15T00:00:00"), DAY), "15 Jun");
    }
}
