//! `pitchfleet memory-report --worker`: the last hour of a worker's memory, and what its unloads gave back.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use ::fleet::api::{MemorySample, WorkerMemory};

use super::http::Patience;
use super::{ServerArgs, in_query};
use crate::duration::clock;
use crate::exit::{Ending, Fatal};
use crate::memory::{Memory, megabytes};
use crate::memory_report::chart::{self, Mark};
use crate::table;

/// Shows what the fleet's API heard of `worker`.
///
/// # Errors
/// When the API cannot be asked, does not know the worker, or the picture cannot be written.
pub(crate) fn report(
    server: &ServerArgs,
    worker: &str,
    json: bool,
    picture: Option<&Path>,
) -> anyhow::Result<Ending> {
    let client = server.client()?;
    let path = format!("/v1/workers/{}/memory", in_query(worker));
    let memory: WorkerMemory = client.get(&path, Patience::Short)?;
    if let Some(path) = picture {
        let svg = draw(&memory)?;
        fs::write(path, svg).map_err(|error| Fatal::output(format!("{}: {error}", path.display())))?;
    }
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &memory)?;
        writeln!(out)?;
    } else {
        write(&mut out, &memory)?;
    }
    let is_over = memory.unloads.iter().any(|receipt| receipt.is_over());
    Ok(if is_over { Ending::Faults } else { Ending::Done })
}

fn write(out: &mut impl Write, memory: &WorkerMemory) -> io::Result<()> {
    let total = |sample: &MemorySample| sample.worker_bytes + sample.engine_bytes;
    let (Some(first), Some(last)) = (memory.samples.first(), memory.samples.last()) else {
        return writeln!(out, "nothing is known of it yet");
    };
    let most = memory.samples.iter().map(total).max().unwrap_or_default();
    writeln!(
        out,
        "resident now {}, at most {} within {}\n",
        megabytes(total(last)),
        megabytes(most),
        clock(Duration::from_millis(last.at_ms.saturating_sub(first.at_ms)))
    )?;
    let mut rows = table::new(&["unload", "before it ended", "before", "after", "floor", "residue"]);
    for receipt in &memory.unloads {
        let ago = last.at_ms.saturating_sub(receipt.at_ms);
        let residue = megabytes(receipt.residue_bytes);
        rows.add_row([
            receipt.reason.name().to_owned(),
            format!("{} ago", clock(Duration::from_millis(ago))),
            megabytes(receipt.before_bytes),
            megabytes(receipt.after_bytes),
            megabytes(receipt.floor_bytes),
            match receipt.is_over() {
                true => format!("{residue} TOO MUCH"),
                false => residue,
            },
        ]);
    }
    table::align_numbers(&mut rows, &[2, 3, 4, 5]);
    writeln!(out, "{rows}")
}

fn draw(memory: &WorkerMemory) -> anyhow::Result<String> {
    let origin = memory.samples.first().map_or(0, |sample| sample.at_ms);
    let at = |at_ms: u64| at_ms.saturating_sub(origin) as f64 / 1e3;
    let samples: Vec<_> = memory
        .samples
        .iter()
        .map(|sample| {
            let held = Memory {
                resident: sample.worker_bytes + sample.engine_bytes,
                private: sample.private_bytes,
                ..Memory::default()
            };
            (at(sample.at_ms), held)
        })
        .collect();
    // Names stand beside the plot, where there is room for so many.
    let last = memory.unloads.iter().rev().take(MOST_MARKS).rev();
    let marks: Vec<_> = last
        .filter(|receipt| receipt.at_ms >= origin)
        .map(|receipt| Mark {
            name: format!("unloaded ({})", receipt.reason.name()),
            at: at(receipt.at_ms),
            bytes: receipt.after_bytes,
        })
        .collect();
    chart::draw(&samples, &marks)
}

/// Unloads that are named in the picture.
const MOST_MARKS: usize = 15;

#[cfg(test)]
mod tests {
    use ::fleet::event::Receipt;
    use ::fleet::lifecycle::UnloadReason;

    use super::*;

    fn memory() -> WorkerMemory {
        let sample = |second: u64, engine: u64| MemorySample {
            at_ms: 1_700_000_000_000 + 1_000 * second,
            worker_bytes: 20 << 20,
            engine_bytes: engine << 20,
            private_bytes: (15 + engine) << 20,
            gpu_bytes: 0,
        };
        WorkerMemory {
            samples: vec![sample(0, 0), sample(10, 130), sample(60, 0)],
            unloads: vec![Receipt {
                at_ms: 1_700_000_055_000,
                reason: UnloadReason::Drained,
                before_bytes: 145 << 20,
                after_bytes: 15 << 20,
                floor_bytes: 15 << 20,
                residue_bytes: 0,
                gpu_before_bytes: None,
                gpu_after_bytes: None,
            }],
        }
    }

    #[test]
    fn the_hour_is_told_in_words_and_as_a_picture() {
        let mut text = Vec::new();
        write(&mut text, &memory()).unwrap();
        let text = String::from_utf8(text).unwrap();
        for word in [
            "resident now 20.0 MB, at most 150.0 MB within 1 min 0 s",
            "drained",
            "5 s ago",
            "145.0 MB",
        ] {
            assert!(text.contains(word), "no `{word}` in\n{text}");
        }
        let svg = draw(&memory()).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("unloaded (drained)"));
        assert!(draw(&WorkerMemory::default()).is_ok());
    }
}
