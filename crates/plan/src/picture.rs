//! A day as a picture: what waits, and who is there.

use plotters::coord::Shift;
use plotters::prelude::*;
use thiserror::Error;

use crate::sim::{Outcome, Sample};

const SIZE: (u32, u32) = (1100, 560);
/// Colours that stay apart for colour-blind readers (Okabe & Ito, Color Universal Design, 2008).
const BACKLOG: RGBColor = RGBColor(0x00, 0x72, 0xB2);
const WANTED: RGBColor = RGBColor(0xE6, 0x9F, 0x00);
const READY: RGBColor = RGBColor(0x00, 0x9E, 0x73);

/// The plotting library's reason.
#[derive(Debug, Error)]
#[error("the day cannot be drawn: {0}")]
pub struct PictureError(String);

/// Backlog above, workers below, over the hours in which there was any, as an SVG document.
///
/// # Errors
/// When the plotting library cannot draw it.
pub fn draw(outcome: &Outcome) -> Result<String, PictureError> {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    paint(&area, outcome).map_err(|error| PictureError(error.to_string()))?;
    area.present().map_err(|error| PictureError(error.to_string()))?;
    drop(area);
    Ok(svg)
}

fn paint(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    outcome: &Outcome,
) -> Result<(), Box<dyn std::error::Error>> {
    area.fill(&WHITE)?;
    let (above, below) = area.split_vertically(SIZE.1 * 11 / 20);
    let hours = hours(&outcome.timeline);
    let backlog = steps(&outcome.timeline, |sample| sample.backlog as f64);
    panel(
        &above,
        &hours,
        "Photos waiting or in hand",
        outcome.peak_backlog as f64,
        &[(backlog, BACKLOG, "backlog")],
    )?;
    let wanted = steps(&outcome.timeline, |sample| f64::from(sample.wanted));
    let ready = steps(&outcome.timeline, |sample| f64::from(sample.ready));
    panel(
        &below,
        &hours,
        "Workers",
        f64::from(outcome.peak_replicas),
        &[(wanted, WANTED, "wanted"), (ready, READY, "ready")],
    )
}

type Line = (Vec<(f64, f64)>, RGBColor, &'static str);

fn panel(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    hours: &std::ops::Range<f64>,
    title: &str,
    top: f64,
    lines: &[Line],
) -> Result<(), Box<dyn std::error::Error>> {
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .caption(title, ("sans-serif", 17))
        .x_label_area_size(30)
        .y_label_area_size(60)
        .build_cartesian_2d(hours.clone(), 0.0..(top * 1.08).max(1.0))?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_labels(13)
        .x_label_formatter(&|hour| {
            let minutes = (hour * 60.0).round() as u64;
            format!("{}:{:02}", minutes / 60 % 24, minutes % 60)
        })
        .y_labels(6)
        .y_label_formatter(&|value| count(*value))
        .draw()?;
    for (points, colour, label) in lines {
        let style = colour.stroke_width(2);
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style))?
            .label(*label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    if lines.len() > 1 {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .draw()?;
    }
    Ok(())
}

/// A tick of an axis of whole things: between two of them there is nothing to say.
fn count(value: f64) -> String {
    if (value - value.round()).abs() < 1e-6 {
        format!("{value:.0}")
    } else {
        String::new()
    }
}

/// From the first to the last sample that is not empty, with a little around them.
fn hours(timeline: &[Sample]) -> std::ops::Range<f64> {
    let mut busy = timeline
        .iter()
        .enumerate()
        .filter(|(_, sample)| sample.backlog > 0 || sample.wanted > 0 || sample.ready > 0)
        .map(|(place, _)| place);
    let Some(first) = busy.next() else {
        return 0.0..24.0;
    };
    let last = busy.next_back().unwrap_or(first);
    let end = timeline.get(last + 1).unwrap_or(&timeline[last]).at / 3600.0;
    (timeline[first].at / 3600.0 - 0.25).max(0.0)..end + 0.25
}

/// Values that hold until the next sample.
fn steps(timeline: &[Sample], value: impl Fn(&Sample) -> f64) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = Vec::with_capacity(timeline.len() * 2);
    for sample in timeline {
        let at = sample.at / 3600.0;
        let value = value(sample);
        match points.last() {
            Some(&(_, before)) if before == value => continue,
            Some(&(_, before)) => points.push((at, before)),
            None => {}
        }
        points.push((at, value));
    }
    if let (Some(last), Some(&(_, value))) = (timeline.last(), points.last()) {
        points.push((last.at / 3600.0, value));
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: f64, backlog: u64, wanted: u32) -> Sample {
        Sample {
            at: at * 3600.0,
            backlog,
            wanted,
            ready: wanted,
        }
    }

    #[test]
    fn values_hold_until_they_change() {
        let timeline = [
            sample(0.0, 0, 0),
            sample(1.0, 0, 1),
            sample(2.0, 5, 1),
            sample(3.0, 0, 0),
        ];
        assert_eq!(
            steps(&timeline, |sample| sample.backlog as f64),
            [
                (0.0, 0.0),
                (2.0, 0.0),
                (2.0, 5.0),
                (3.0, 5.0),
                (3.0, 0.0),
                (3.0, 0.0)
            ]
        );
        assert_eq!(hours(&timeline), 0.75..3.25);
        assert_eq!(hours(&[]), 0.0..24.0);
    }

    #[test]
    fn no_half_worker_is_written_at_an_axis() {
        assert_eq!([0.0, 0.2, 0.8, 1.0, 400.0].map(count), ["0", "", "", "1", "400"]);
    }

    #[test]
    fn a_day_becomes_a_picture() {
        let outcome = crate::simulate(
            &[36_000.0; 500],
            &crate::pool::Pool {
                lanes: 2,
                service: 1.0,
                node_start: 60.0,
                pod_start: 5.0,
                node_linger: 60.0,
                load: 0.1,
                unload_grace: 5.0,
                scaling: crate::pool::Scaling {
                    min_replicas: 0,
                    max_replicas: 4,
                    photos_per_replica: 100.0,
                    activation_photos: 0,
                    polling: 10.0,
                    cooldown: 60.0,
                    stabilization: 60.0,
                },
            },
        );
        let svg = draw(&outcome).unwrap();
        for text in ["<svg", "Photos waiting or in hand", "Workers", "wanted", "10:00"] {
            assert!(svg.contains(text), "{text}");
        }
    }
}
