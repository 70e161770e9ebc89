//! The plan as tables.

use std::io::{self, Write};
use std::time::Duration;

use ::plan::card::{Card, compare, memory_mb};
use ::plan::search::{Advice, Choice, Question};
use ::plan::work::Work;

use super::Told;
use crate::duration::clock;
use crate::table;

/// Sizes of photos that the comparison with a card shows, in megapixels.
const SIZES: [f64; 4] = [2.0, 8.0, 12.0, 24.0];
/// Others that are shown.
const OTHERS: usize = 4;

pub(super) fn write(out: &mut impl Write, told: &Told<'_>, card: &Card) -> io::Result<()> {
    let (question, advice) = (told.question, told.advice);
    let Work {
        megapixels,
        detector_side,
        ..
    } = question.work;
    writeln!(
        out,
        "{} photos of {megapixels} MP a day, the detector at {detector_side} px: {:.0} ms of a core each; 95 of 100 within {}.\n",
        thousands(question.day.photos),
        question.work.worker_ms(),
        time(question.within)
    )?;
    if !advice.holds {
        writeln!(
            out,
            "Nothing that was tried is fast enough; this comes nearest. More cores, --most, or workers that are always there\n\
             (--min-replicas) help.\n"
        )?;
    }
    settings(out, question, advice)?;
    day(out, told)?;
    others(out, advice)?;
    cards(out, told, card)
}

fn settings(out: &mut impl Write, question: &Question, advice: &Advice) -> io::Result<()> {
    let (pool, scaling) = (advice.best.pool, advice.best.pool.scaling);
    let mut rows = table::new(&["the chart's setting", "recommended", ""]);
    let cores = question.worker.cores.to_string();
    let memory = format!("{}Mi", advice.memory_limit_mib);
    rows.add_row([
        "resources.limits.cpu",
        &cores,
        &format!("as many lanes; {:.1} photos a second", pool.rate()),
    ]);
    let peak = format!(
        "peak {:.0} MB; half is for decoded photos",
        question.work.peak_mb(question.worker.cores as f64)
    );
    rows.add_row(["resources.limits.memory", &memory, &peak]);
    let decided = &question.decided;
    for (name, value, is_decided, why) in [
        (
            "scaling.minReplicas",
            scaling.min_replicas.to_string(),
            decided.min_replicas.is_some(),
            "workers that are always there",
        ),
        (
            "scaling.maxReplicas",
            scaling.max_replicas.to_string(),
            decided.max_replicas.is_some(),
            "the largest break over photosPerReplica",
        ),
        (
            "scaling.photosPerReplica",
            format!("{:.0}", scaling.photos_per_replica),
            decided.photos_per_replica.is_some(),
            "what one worker does in the time left",
        ),
        (
            "scaling.pollingSeconds",
            format!("{:.0}", scaling.polling),
            false,
            "between two looks at the queue",
        ),
        (
            "scaling.cooldownSeconds",
            format!("{:.0}", scaling.cooldown),
            decided.cooldown.is_some(),
            "longer than grace and polling together",
        ),
        (
            "unloadGraceSeconds",
            format!("{:.0}", pool.unload_grace),
            decided.unload_grace.is_some(),
            "loading stays below 1 % of the work",
        ),
    ] {
        rows.add_row([name, &value, if is_decided { "as you say" } else { why }]);
    }
    table::align_numbers(&mut rows, &[1]);
    writeln!(out, "{rows}\n")
}

fn day(out: &mut impl Write, told: &Told<'_>) -> io::Result<()> {
    let Choice { outcome, cost, .. } = &told.advice.best;
    let mut rows = table::new(&["the day", ""]);
    let waits = &outcome.waits;
    rows.add_row([
        "upload to result, half of the photos, 95 of 100, the longest",
        &format!("{}, {}, {}", time(waits.p50), time(waits.p95), time(waits.max)),
    ]);
    rows.add_row([
        "photos waiting or in hand, at most",
        &thousands(outcome.peak_backlog),
    ]);
    rows.add_row([
        "workers at most; from nothing; nodes started",
        &format!(
            "{}; {} times; {}",
            outcome.peak_replicas, outcome.cold_starts, outcome.node_starts
        ),
    ]);
    rows.add_row([
        "models loaded; in memory",
        &format!(
            "{} times; {:.1} worker hours",
            outcome.model_loads, outcome.loaded_hours
        ),
    ]);
    rows.add_row([
        "nodes paid, starting and lingering included",
        &format!(
            "{:.1} hours, {:.0} % of them at work",
            outcome.node_hours,
            told.utilisation * 100.0
        ),
    ]);
    rows.add_row(["cost of the day", &format!("{cost:.2}")]);
    rows.add_row(["cost per 1,000 photos", &format!("{:.3}", told.cost_per_thousand)]);
    table::align_numbers(&mut rows, &[1]);
    writeln!(out, "{rows}\n")
}

fn others(out: &mut impl Write, advice: &Advice) -> io::Result<()> {
    if advice.others.is_empty() {
        return Ok(());
    }
    let header = [
        "also tried: min, max",
        "photosPerReplica",
        "cooldown s",
        "95 of 100",
        "per 1,000 photos",
    ];
    let mut rows = table::new(&header);
    for other in advice.others.iter().take(OTHERS) {
        let scaling = other.pool.scaling;
        rows.add_row([
            format!("{}, {}", scaling.min_replicas, scaling.max_replicas),
            format!("{:.0}", scaling.photos_per_replica),
            format!("{:.0}", scaling.cooldown),
            time(other.outcome.waits.p95),
            format!("{:.3}", other.per_thousand()),
        ]);
    }
    table::align_numbers(&mut rows, &[1, 2, 3, 4]);
    writeln!(out, "{rows}\n")
}

fn cards(out: &mut impl Write, told: &Told<'_>, card: &Card) -> io::Result<()> {
    let question = told.question;
    let core_hour = question.prices.core_hour;
    writeln!(
        out,
        "A card at {:.2} an hour against cores at {core_hour:.3}. No card was measured: {} ms of it for a photo's networks \
         is an\nassumption (--card-ms). The cores' side is measured.\n",
        card.hour, card.photo_ms
    )?;
    let header = [
        "photo",
        "core ms alone, beside a card",
        "cores that fill it",
        "photos/s of it full",
        "cores that it replaces, full",
        "pays from",
    ];
    let mut rows = table::new(&header);
    let own = question.work.megapixels;
    let mut sizes: Vec<f64> = SIZES
        .into_iter()
        .filter(|size| *size != own)
        .chain([own])
        .collect();
    sizes.sort_by(f64::total_cmp);
    for megapixels in sizes {
        let work = Work {
            megapixels,
            ..question.work
        };
        let full = compare(&work, card, work.worker_beside_ms() / card.photo_ms, core_hour);
        let pays = full
            .cores_to_pay
            .map_or("never".to_owned(), |cores| format!("{:.0} cores", cores.ceil()));
        rows.add_row([
            format!("{megapixels} MP"),
            format!("{:.0}, {:.0}", full.cores_only_ms, full.beside_ms),
            format!("{:.0}", full.cores_to_fill.ceil()),
            format!("{:.0}", full.rate),
            format!("{:.0}", full.cores_replaced),
            pays,
        ]);
    }
    table::align_numbers(&mut rows, &[1, 2, 3, 4, 5]);
    writeln!(out, "{rows}\n")?;
    let side = question.work.detector_side;
    writeln!(
        out,
        "Its memory, by the engine's estimate: {:.1} GB for batches of 8 photos, {:.1} GB for 32, the most that there are.\n",
        memory_mb(side, 8.0) / 1e3,
        memory_mb(side, 32.0) / 1e3
    )?;
    let here = told.comparison;
    let best = &told.card.best;
    writeln!(
        out,
        "This day on workers with a card and {} cores: {:.3} per 1,000 photos against {:.3}, 95 of 100 within {}. The card is \
         busy\n{:.0} % of the time that its cores are; it replaces {:.1} of their like and pays below {:.2} an hour.",
        best.pool.lanes,
        told.card_cost_per_thousand,
        told.cost_per_thousand,
        time(best.outcome.waits.p95),
        here.busy * 100.0,
        here.cores_replaced,
        here.pays_below.max(0.0)
    )
}

fn time(seconds: f64) -> String {
    if seconds < 10.0 {
        format!("{seconds:.1} s")
    } else {
        clock(Duration::from_secs_f64(seconds.round()))
    }
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_times_short() {
        assert_eq!(
            [0, 999, 1_000, 12_345_678].map(thousands),
            ["0", "999", "1,000", "12,345,678"]
        );
        assert_eq!(
            [0.25, 59.6, 600.0].map(time),
            ["0.2 s", "1 min 0 s", "10 min 0 s"]
        );
    }
}
