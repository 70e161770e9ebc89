//! The consensus as bars: probabilities before and after the rules, photos by class.

use pitch::analysis::PitchClass;
use pitch::verdict::Summary;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::{
    Canvas, Chart, GRID, INK, LegendEntry, Painted, QUIET, TEXT, class_colour, class_title, draw, hex,
    round_up, text_style,
};
use crate::ReportError;

const HEIGHT: u32 = 220;

/// A bar: where it stands, how high, and what is written above it.
struct Bar {
    left: f64,
    right: f64,
    value: f64,
    colour: RGBColor,
    label: String,
}

/// Mean probabilities of the four classes before and after the cricket rules; `None` without a consensus.
///
/// # Errors
/// When the plotting library fails.
pub fn probabilities(summary: &Summary) -> Result<Option<Chart>, ReportError> {
    let Some(consensus) = &summary.consensus else {
        return Ok(None);
    };
    let mut bars = Vec::new();
    let mut words = Vec::new();
    for (place, &class) in PitchClass::ALL.iter().enumerate() {
        let (before, after) = (
            consensus.model.probabilities.of(class) * 100.0,
            consensus.corrected.probabilities.of(class) * 100.0,
        );
        let place = place as f64;
        bars.push(Bar {
            left: place + 0.14,
            right: place + 0.48,
            value: before,
            colour: QUIET,
            label: format!("{before:.0}"),
        });
        bars.push(Bar {
            left: place + 0.52,
            right: place + 0.86,
            value: after,
            colour: class_colour(class),
            label: format!("{after:.0}"),
        });
        words.push(format!(
            "{} {before:.0} % before and {after:.0} % after",
            class_title(class)
        ));
    }
    Ok(Some(Chart {
        title: "Probabilities before and after the cricket rules (%)".to_owned(),
        description: format!("{}.", words.join(", ")),
        legend: vec![
            LegendEntry {
                colour: hex(QUIET),
                label: "network alone".to_owned(),
            },
            LegendEntry {
                colour: hex(class_colour(consensus.corrected.class)),
                label: "after the rules, in the colour of the class".to_owned(),
            },
        ],
        svg: draw("probabilities", HEIGHT, |canvas| paint(canvas, &bars))?,
    }))
}

/// Photos by their own class; `None` without a consensus.
///
/// # Errors
/// When the plotting library fails.
pub fn classes(summary: &Summary) -> Result<Option<Chart>, ReportError> {
    let Some(agreement) = &summary.agreement else {
        return Ok(None);
    };
    let count = |class| agreement.classes.get(&class).copied().unwrap_or_default();
    let bars: Vec<Bar> = PitchClass::ALL
        .iter()
        .enumerate()
        .map(|(place, &class)| Bar {
            left: place as f64 + 0.2,
            right: place as f64 + 0.8,
            value: count(class) as f64,
            colour: class_colour(class),
            label: count(class).to_string(),
        })
        .collect();
    let words: Vec<String> = PitchClass::ALL
        .iter()
        .map(|&class| format!("{} {}", class_title(class), count(class)))
        .collect();
    Ok(Some(Chart {
        title: "Photos by class".to_owned(),
        description: format!("{}.", words.join(", ")),
        legend: vec![],
        svg: draw("classes", HEIGHT, |canvas| paint(canvas, &bars))?,
    }))
}

fn paint(canvas: &Canvas<'_>, bars: &[Bar]) -> Painted {
    let end = round_up(bars.iter().map(|bar| bar.value).fold(0.0, f64::max));
    let mut chart = ChartBuilder::on(canvas)
        .margin_top(22)
        .margin_right(8)
        .x_label_area_size(28)
        .y_label_area_size(38)
        .build_cartesian_2d(0.0..PitchClass::ALL.len() as f64, 0.0..end)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .disable_x_axis()
        .y_labels(5)
        .y_max_light_lines(0)
        .y_label_formatter(&|value| super::axis_label(*value, end))
        .bold_line_style(GRID)
        .axis_style(GRID)
        .label_style(("sans-serif", TEXT).into_font().color(&INK))
        .draw()?;
    chart.draw_series(
        bars.iter()
            .map(|bar| Rectangle::new([(bar.left, 0.0), (bar.right, bar.value)], bar.colour.filled())),
    )?;
    for bar in bars {
        let top = chart.backend_coord(&(f64::midpoint(bar.left, bar.right), bar.value));
        canvas.draw(&Text::new(
            bar.label.clone(),
            (top.0, top.1 - 3),
            text_style(HPos::Center, VPos::Bottom),
        ))?;
    }
    for (place, &class) in PitchClass::ALL.iter().enumerate() {
        let foot = chart.backend_coord(&(place as f64 + 0.5, 0.0));
        canvas.draw(&Text::new(
            class_title(class),
            (foot.0, foot.1 + 8),
            text_style(HPos::Center, VPos::Top),
        ))?;
    }
    Ok(())
}
