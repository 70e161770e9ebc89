//! Distributions of the features as box plots, one box a group.

use pitch::verdict::{Feature, Spread, Verdict};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::{
    Canvas, Chart, GRID, INK, PALETTE, Painted, TEXT, axis_label, draw, largest_only, median, round_up,
    scopes, shortened, text_style,
};
use crate::ReportError;

const FEATURES: [(Feature, &str); 4] = [
    (Feature::GrassPercent, "grass distribution"),
    (Feature::CrackDensityPercent, "crack distribution"),
    (Feature::MoistureScore, "moisture distribution"),
    (Feature::LaplacianVariance, "roughness distribution"),
];

/// A row: name, numbers, colour.
struct Row {
    name: String,
    spread: Spread,
    colour: RGBColor,
}

/// Box plots of grass, cracks, moisture and roughness: the box from the first to the third quartile, the bar at the
/// median, the line from the least to the greatest value. Empty without an analysed photo.
///
/// # Errors
/// When the plotting library fails.
pub fn distributions(verdict: &Verdict) -> Result<Vec<Chart>, ReportError> {
    let mut charts = Vec::new();
    for (feature, name) in FEATURES {
        let rows: Vec<Row> = scopes(verdict)
            .iter()
            .zip(PALETTE)
            .filter_map(|(scope, colour)| {
                Some(Row {
                    name: shortened(scope.name, 14),
                    spread: *scope.summary.features.as_ref()?.get(&feature)?,
                    colour,
                })
            })
            .collect();
        if rows.is_empty() {
            continue;
        }
        let words: Vec<String> = scopes(verdict)
            .iter()
            .map(|scope| format!("{}: median {}", scope.name, median(scope.summary, feature)))
            .collect();
        charts.push(Chart {
            title: format!("{}{}", feature.title(), largest_only(verdict)),
            description: format!("{}.", words.join("; ")),
            legend: vec![],
            svg: draw(name, 44 + 34 * rows.len() as u32, |canvas| paint(canvas, &rows))?,
        });
    }
    Ok(charts)
}

fn paint(canvas: &Canvas<'_>, rows: &[Row]) -> Painted {
    let end = round_up(rows.iter().map(|row| row.spread.max).fold(0.0, f64::max));
    let mut chart = ChartBuilder::on(canvas)
        .margin_top(8)
        .margin_right(20)
        .x_label_area_size(30)
        .y_label_area_size(104)
        .build_cartesian_2d(0.0..end, 0.0..rows.len() as f64)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .x_labels(6)
        .x_max_light_lines(0)
        .x_label_formatter(&|value| axis_label(*value, end))
        .bold_line_style(GRID)
        .axis_style(GRID)
        .label_style(("sans-serif", TEXT).into_font().color(&INK))
        .draw()?;
    // The first group stands on top.
    for (row, place) in rows.iter().rev().zip(0..) {
        let middle = f64::from(place) + 0.5;
        let (bottom, top) = (middle - 0.28, middle + 0.28);
        let Spread {
            min,
            q1,
            median,
            q3,
            max,
            ..
        } = row.spread;
        chart.draw_series([PathElement::new(
            vec![(min, middle), (max, middle)],
            row.colour.stroke_width(2),
        )])?;
        chart.draw_series([Rectangle::new([(q1, bottom), (q3, top)], row.colour.filled())])?;
        chart.draw_series([PathElement::new(
            vec![(median, bottom), (median, top)],
            INK.stroke_width(3),
        )])?;
        let left = chart.backend_coord(&(0.0, middle));
        canvas.draw(&Text::new(
            row.name.clone(),
            (left.0 - 8, left.1),
            text_style(HPos::Right, VPos::Center),
        ))?;
    }
    Ok(())
}
