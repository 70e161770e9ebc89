//! The timeline of memory as a picture.

use anyhow::anyhow;
use plotters::prelude::*;

use super::timeline::Sample;
use crate::memory::megabytes;

const SIZE: (u32, u32) = (1140, 460);
const PLOT_WIDTH: u32 = 870;
const MB: f64 = 1_048_576.0;

/// A moment that has a name.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    pub(crate) name: String,
    /// Seconds since the first sample.
    pub(crate) at: f64,
    /// Memory then.
    pub(crate) bytes: u64,
}

/// Resident and private memory over time, with names where something was reached.
///
/// # Errors
/// When the plotting library cannot draw it.
pub(crate) fn draw(samples: &[Sample], marks: &[Mark]) -> anyhow::Result<String> {
    let mut svg = String::new();
    draw_into(&mut svg, samples, marks).map_err(|error| anyhow!("the timeline cannot be drawn: {error}"))?;
    Ok(svg)
}

fn draw_into(
    svg: &mut String,
    samples: &[Sample],
    marks: &[Mark],
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let end = samples.last().map_or(1.0, |(at, _)| *at).max(1.0);
    let top = samples
        .iter()
        .map(|(_, memory)| memory.resident as f64 / MB)
        .fold(50.0, f64::max)
        * 1.15;
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let (plot, key) = area.split_horizontally(PLOT_WIDTH);
    let mut chart = ChartBuilder::on(&plot)
        .margin(12)
        .caption("Memory of the process tree", ("sans-serif", 18))
        .x_label_area_size(36)
        .y_label_area_size(52)
        .build_cartesian_2d(0.0..end, 0.0..top)?;
    chart
        .configure_mesh()
        .x_desc("seconds")
        .y_desc("MB")
        .light_line_style(WHITE)
        .draw()?;
    let resident = RGBColor(31, 98, 166);
    let private = RGBColor(200, 110, 20);
    chart
        .draw_series(LineSeries::new(
            samples
                .iter()
                .map(|(at, memory)| (*at, memory.resident as f64 / MB)),
            resident.stroke_width(2),
        ))?
        .label("resident")
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], resident.stroke_width(2)));
    chart
        .draw_series(LineSeries::new(
            samples
                .iter()
                .map(|(at, memory)| (*at, memory.private as f64 / MB)),
            private.stroke_width(2),
        ))?
        .label("private")
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], private.stroke_width(2)));
    // Marks can follow each other at once: numbers on the plot, names beside it.
    let mut last = f64::NEG_INFINITY;
    let mut shift = 0;
    for (number, mark) in marks.iter().enumerate() {
        let crowded = mark.at - last < end * 0.02;
        shift = if crowded { shift + 14 } else { 0 };
        last = mark.at;
        let at = (mark.at, mark.bytes as f64 / MB);
        chart.draw_series(std::iter::once(
            EmptyElement::at(at)
                + Circle::new((0, 0), 3, BLACK.filled())
                + Text::new(
                    (number + 1).to_string(),
                    (-3 + shift, -18),
                    ("sans-serif", 13).into_font(),
                ),
        ))?;
        let line = format!("{}  {}: {}", number + 1, mark.name, megabytes(mark.bytes));
        let row = 60 + 22 * i32::try_from(number).unwrap_or_default();
        key.draw(&Text::new(line, (4, row), ("sans-serif", 13).into_font()))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE)
        .border_style(BLACK.mix(0.3))
        .draw()?;
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;

    #[test]
    fn the_timeline_names_its_marks() {
        let memory = |megabytes: u64| Memory {
            resident: megabytes << 20,
            ..Memory::default()
        };
        let samples = [(0.0, memory(8)), (0.5, memory(120)), (1.5, memory(9))];
        let marks = [Mark {
            name: "first photo done".to_owned(),
            at: 0.5,
            bytes: 120 << 20,
        }];
        let svg = draw(&samples, &marks).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("first photo done") && svg.contains("resident"));
    }
}
