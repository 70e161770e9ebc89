//! The timeline of memory as a picture.

use anyhow::anyhow;
use plotters::prelude::*;

use super::Stage;
use super::sampler::Sample;

const SIZE: (u32, u32) = (1100, 460);
const MB: f64 = 1_048_576.0;

/// Resident and private memory over time, with the stages named where they were reached.
///
/// # Errors
/// When the plotting library cannot draw it.
pub(super) fn draw(samples: &[Sample], stages: &[Stage]) -> anyhow::Result<String> {
    let mut svg = String::new();
    draw_into(&mut svg, samples, stages).map_err(|error| anyhow!("the timeline cannot be drawn: {error}"))?;
    Ok(svg)
}

fn draw_into(
    svg: &mut String,
    samples: &[Sample],
    stages: &[Stage],
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let end = samples.last().map_or(1.0, |(at, _)| *at).max(1.0);
    let top = samples
        .iter()
        .map(|(_, memory)| memory.resident as f64 / MB)
        .fold(50.0, f64::max)
        * 1.15;
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
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
    chart.draw_series(stages.iter().map(|stage| {
        let at = (stage.at, stage.memory.resident as f64 / MB);
        EmptyElement::at(at)
            + Circle::new((0, 0), 3, BLACK.filled())
            + Text::new(stage.name, (5, -12), ("sans-serif", 11).into_font())
    }))?;
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE)
        .border_style(BLACK.mix(0.3))
        .draw()?;
    area.present()?;
    drop(chart);
    drop(area);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;

    #[test]
    fn the_timeline_names_its_stages() {
        let memory = |megabytes: u64| Memory {
            resident: megabytes << 20,
            ..Memory::default()
        };
        let samples = [(0.0, memory(8)), (0.5, memory(120)), (1.5, memory(9))];
        let stages = [Stage {
            name: "first photo done",
            at: 0.5,
            memory: memory(120),
        }];
        let svg = draw(&samples, &stages).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("first photo done") && svg.contains("resident"));
    }
}
